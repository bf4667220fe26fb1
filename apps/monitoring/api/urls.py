"""REST addresses of measurements."""

from django.urls import URLPattern, URLResolver, path

from apps.monitoring.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "endpoints/<str:endpoint_id>/traffic",
        views.EndpointTraffic.as_view(),
        name="api-endpoint-traffic",
    ),
    path(
        "endpoints/<str:endpoint_id>/feedback",
        views.EndpointFeedback.as_view(),
        name="api-endpoint-feedback",
    ),
]
