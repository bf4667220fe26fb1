"""REST addresses of environments."""

from django.urls import URLPattern, URLResolver, path

from apps.environments.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("environments", views.Environments.as_view(), name="api-environments"),
    path("environments/<str:slug>", views.EnvironmentDetail.as_view(), name="api-environment"),
]
