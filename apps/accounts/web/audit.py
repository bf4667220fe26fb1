"""The page of the ledger."""

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts import ledger
from controlplane.http.pagination import cut, limit_of
from controlplane.http.permissions import actor_of, signed_in


@signed_in
@require_safe
def audit(request: HttpRequest) -> HttpResponse:
    """Search the ledger."""
    asked = {name: request.GET.get(name, "") for name in ledger.PARAMETERS}
    found = ledger.events(actor_of(request), asked)
    limit = limit_of({"limit": request.GET.get("limit", "")})
    part = cut(found, limit=limit, cursor=request.GET.get("cursor", ""))
    kept = urlencode({name: value for name, value in asked.items() if value})
    context = {
        "events": part.rows,
        "slice": part,
        "asked": asked,
        "filtered": bool(kept),
        "base": f"{kept}&" if kept else "",
    }
    return render(request, "audit/audit.html", context)
