"""REST addresses of approvals."""

from django.urls import URLPattern, URLResolver, path

from apps.approvals.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("inbox", views.Inbox.as_view(), name="api-inbox"),
    path("delegations", views.Delegations.as_view(), name="api-delegations"),
    path(
        "delegations/<str:delegation_id>/end",
        views.DelegationEnd.as_view(),
        name="api-delegation-end",
    ),
]
