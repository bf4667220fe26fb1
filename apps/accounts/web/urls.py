"""Page addresses of accounts and of the ledger."""

from django.urls import URLPattern, URLResolver, path

from apps.accounts.web import audit, people, sign_in, tokens

urlpatterns: list[URLPattern | URLResolver] = [
    path("sign-in", sign_in.sign_in, name="sign-in"),
    path("sign-out", sign_in.sign_out, name="sign-out"),
    path("password", sign_in.password, name="password"),
    path("tokens", tokens.tokens, name="tokens"),
    path("tokens/<str:token_id>/revoke", tokens.revoke, name="token-revoke"),
    path("people", people.people, name="people"),
    path("people/<str:username>", people.person, name="person"),
    path("people/<str:username>/grants", people.grant, name="person-grant"),
    path(
        "people/<str:username>/grants/<str:grant_id>/revoke",
        people.revoke,
        name="person-grant-revoke",
    ),
    path("people/<str:username>/password", people.reset_password, name="person-password"),
    path("people/<str:username>/active", people.set_active, name="person-active"),
    path("teams", people.create_team, name="teams"),
    path("audit", audit.audit, name="audit"),
    path("audit/export", audit.export, name="audit-export"),
    path("audit/ledger.pub", audit.public_key, {"use": "ledger"}, name="ledger-key"),
    path("audit/bundle.pub", audit.public_key, {"use": "bundle"}, name="bundle-key"),
]
