"""REST addresses of accounts."""

from django.urls import URLPattern, URLResolver, path

from apps.accounts.api import ledger_views, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("me", views.Me.as_view(), name="api-me"),
    path("tokens", views.Tokens.as_view(), name="api-tokens"),
    path("tokens/<str:token_id>/revoke", views.TokenRevoke.as_view(), name="api-token-revoke"),
    path("people", views.People.as_view(), name="api-people"),
    path("people/<str:username>", views.PersonDetail.as_view(), name="api-person"),
    path(
        "people/<str:username>/password",
        views.PersonPassword.as_view(),
        name="api-person-password",
    ),
    path("people/<str:username>/grants", views.PersonGrants.as_view(), name="api-person-grants"),
    path("grants/<str:grant_id>", views.GrantDetail.as_view(), name="api-grant"),
    path("teams", views.Teams.as_view(), name="api-teams"),
    path("audit-events", ledger_views.AuditEvents.as_view(), name="api-audit-events"),
    path("audit-events/export", ledger_views.AuditExport.as_view(), name="api-audit-export"),
    path("audit-checkpoints", ledger_views.AuditCheckpoints.as_view(), name="api-checkpoints"),
    path("audit-health", ledger_views.AuditHealth.as_view(), name="api-audit-health"),
    path("audit-key", ledger_views.AuditKey.as_view(), name="api-audit-key"),
]
