"""REST addresses of objectives."""

from django.urls import URLPattern, URLResolver, path

from apps.slos.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "models/<str:name>/objectives/<str:environment>",
        views.ObjectiveDetail.as_view(),
        name="api-objective",
    ),
]
