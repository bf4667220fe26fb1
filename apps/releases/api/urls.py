"""REST addresses of releases."""

from django.urls import URLPattern, URLResolver, path

from apps.releases.api import views

ONE = "releases/<int:number>"
urlpatterns: list[URLPattern | URLResolver] = [
    path("releases", views.Releases.as_view(), name="api-releases"),
    path("releases/roll-back", views.RollBack.as_view(), name="api-roll-back"),
    path(ONE, views.ReleaseDetail.as_view(), name="api-release"),
    path(f"{ONE}/approve", views.Approve.as_view(), name="api-release-approve"),
    path(f"{ONE}/request-changes", views.RequestChanges.as_view(), name="api-release-changes"),
    path(f"{ONE}/decline", views.Decline.as_view(), name="api-release-decline"),
    path(f"{ONE}/take-back", views.TakeBack.as_view(), name="api-release-take-back"),
    path(f"{ONE}/withdraw", views.Withdraw.as_view(), name="api-release-withdraw"),
    path(f"{ONE}/break-glass", views.BreakGlass.as_view(), name="api-release-break-glass"),
    path(f"{ONE}/review", views.WriteReview.as_view(), name="api-release-review"),
    path(f"{ONE}/comments", views.Comments.as_view(), name="api-release-comments"),
    path(f"{ONE}/promote", views.Promote.as_view(), name="api-release-promote"),
]
