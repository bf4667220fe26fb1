"""REST addresses of builds."""

from django.urls import URLPattern, URLResolver, path

from apps.builds.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "models/<str:name>/versions/<int:number>/builds",
        views.VersionBuilds.as_view(),
        name="api-version-builds",
    ),
    path("builds", views.Builds.as_view(), name="api-builds"),
    path("builds/<str:build_id>", views.BuildDetail.as_view(), name="api-build"),
    path("builds/<str:build_id>/log", views.BuildLog.as_view(), name="api-build-log"),
    path("builds/<str:build_id>/cancel", views.BuildCancel.as_view(), name="api-build-cancel"),
    path("builds/<str:build_id>/retry", views.BuildRetry.as_view(), name="api-build-retry"),
]
