"""Page addresses of endpoints: verbs. The pages show traffic, and are console's."""

from django.urls import URLPattern, URLResolver, path

from apps.endpoints.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("models/<str:name>/versions/<int:number>/serve", views.serve, name="serve"),
    path("endpoints/<str:environment>/<str:name>/retire", views.retire, name="retire"),
    path("endpoints/<str:environment>/<str:name>/scale", views.scale, name="scale"),
    path("endpoints/<str:environment>/<str:name>/open", views.open_to_all, name="open"),
    path(
        "endpoints/<str:environment>/<str:name>/keys/<str:key>/revoke",
        views.revoke_key,
        name="revoke-key",
    ),
]
