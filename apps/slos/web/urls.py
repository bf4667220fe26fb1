"""Page addresses of objectives."""

from django.urls import URLPattern, URLResolver, path

from apps.slos.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("models/<str:name>/objectives", views.objectives, name="objectives"),
    path(
        "models/<str:name>/objectives/<str:environment>", views.declare, name="objective-declare"
    ),
]
