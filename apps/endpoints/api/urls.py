"""REST addresses of endpoints."""

from django.urls import URLPattern, URLResolver, path

from apps.endpoints.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("endpoints", views.Endpoints.as_view(), name="api-endpoints"),
    path("endpoints/serve", views.ServeVersion.as_view(), name="api-serve"),
    path("endpoints/<str:endpoint_id>", views.EndpointDetail.as_view(), name="api-endpoint"),
    path(
        "endpoints/<str:endpoint_id>/retire",
        views.RetireEndpoint.as_view(),
        name="api-endpoint-retire",
    ),
    path(
        "endpoints/<str:endpoint_id>/scale",
        views.ScaleEndpoint.as_view(),
        name="api-endpoint-scale",
    ),
    path(
        "endpoints/<str:endpoint_id>/keys", views.EndpointKeys.as_view(), name="api-endpoint-keys"
    ),
    path(
        "endpoints/<str:endpoint_id>/keys/<str:key_id>/revoke",
        views.RevokeEndpointKey.as_view(),
        name="api-endpoint-key-revoke",
    ),
    path(
        "endpoints/<str:endpoint_id>/open", views.OpenEndpoint.as_view(), name="api-endpoint-open"
    ),
    path(
        "endpoints/<str:endpoint_id>/predict",
        views.PredictAtEndpoint.as_view(),
        name="api-endpoint-predict",
    ),
]
