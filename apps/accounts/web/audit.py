"""The page of the ledger, and what is downloaded from it."""

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.accounts import ledger
from apps.accounts.domain import access
from controlplane.http.pagination import cut, limit_of
from controlplane.http.permissions import actor_of, signed_in
from controlplane.http.streaming import download

# What a verb may begin with, offered while typing.
AREAS = sorted({verb.rpartition(".")[0] for verb in access.TABLE if not verb.endswith(".read")})


@signed_in
@require_safe
def audit(request: HttpRequest) -> HttpResponse:
    """Search the ledger, and say how much of it is proven."""
    actor, asked = actor_of(request), _asked(request)
    found = ledger.events(actor, asked)
    limit = limit_of({"limit": request.GET.get("limit", "")})
    part = cut(found, limit=limit, cursor=request.GET.get("cursor", ""))
    kept = urlencode({name: value for name, value in asked.items() if value})
    context = {
        "events": part.rows,
        "slice": part,
        "asked": asked,
        "filtered": bool(kept),
        "base": f"{kept}&" if kept else "",
        "areas": AREAS,
        "health": ledger.health(actor, timezone.now()),
        "may_export": access.allows(actor, "audit.export"),
    }
    return render(request, "audit/audit.html", context)


@signed_in
@require_safe
def export(request: HttpRequest) -> HttpResponseBase:
    """Download what the search finds, or everything."""
    asked = {**_asked(request), "format": request.GET.get("format", "")}
    made = ledger.export(actor_of(request), asked, timezone.now())
    return download(request, made.lines, name=made.name, content_type=made.content_type)


@signed_in
@require_safe
def public_key(request: HttpRequest, use: str) -> HttpResponse:
    """Download a public key, in PEM."""
    key = next(key for key in ledger.public_keys(actor_of(request)) if key.use == use)
    response = HttpResponse(key.pem, content_type="application/x-pem-file")
    response["Content-Disposition"] = f'attachment; filename="{use}.pub"'
    return response


def _asked(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET.get(name, "") for name in ledger.PARAMETERS}
