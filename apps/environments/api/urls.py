"""REST addresses of environments."""

from django.urls import URLPattern, URLResolver, path

from apps.environments.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("environments", views.Environments.as_view(), name="api-environments"),
    path("environments/<str:slug>", views.EnvironmentDetail.as_view(), name="api-environment"),
    path(
        "environments/<str:slug>/opening",
        views.EnvironmentOpening.as_view(),
        name="api-environment-opening",
    ),
    path("environments/<str:slug>/freezes", views.Freezes.as_view(), name="api-freezes"),
    path(
        "environments/<str:slug>/freezes/<str:freeze_id>",
        views.FreezeDetail.as_view(),
        name="api-freeze",
    ),
    path("environments/<str:slug>/windows", views.Windows.as_view(), name="api-windows"),
    path(
        "environments/<str:slug>/windows/<str:window_id>",
        views.WindowDetail.as_view(),
        name="api-window",
    ),
]
