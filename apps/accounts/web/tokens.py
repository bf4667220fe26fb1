"""The page of one's own API tokens."""

from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts import selectors, services
from apps.accounts.domain import scopes
from apps.accounts.models import ApiToken
from apps.accounts.web.forms import MENDABLE, TokenForm, show_error
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.clock import SystemClock


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """List the tokens, or create one and show its secret this once."""
    if request.method != "POST":
        return _page(request, TokenForm())
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    try:
        token, secret = services.create_token(
            actor=actor_of(request),
            name=form.cleaned_data["name"],
            scopes=form.scopes(),
            days=form.cleaned_data["days"],
        )
    except MENDABLE as error:
        show_error(form, error)
        return _page(request, form, status=422)
    return _page(request, TokenForm(), made=token, secret=secret)


@signed_in
@require_POST
def revoke(request: HttpRequest, token_id: str) -> HttpResponse:
    """End a token."""
    token = services.revoke_token(actor=actor_of(request), token_id=token_id)
    messages.success(request, f"The token {token.name} is revoked. Nothing can use it any more.")
    return redirect("tokens")


def _page(
    request: HttpRequest,
    form: TokenForm,
    *,
    made: ApiToken | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    now = SystemClock().now()
    rows = list(selectors.tokens(actor_of(request), now=now)[:200])
    context = {
        "form": form,
        "rows": [
            {"token": t, "state": _state(t, now), "may": scopes.named(t.scopes)} for t in rows
        ],
        "live": sum(_state(t, now) == "live" for t in rows),
        "presets": scopes.PRESETS,
        "made": made,
        "secret": secret,
    }
    return render(request, "accounts/tokens.html", context, status=status)


def _state(token: ApiToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return "withdrawn"
    return "expired" if token.expires_at and token.expires_at <= now else "live"
