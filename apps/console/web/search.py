"""Find anything by name, number, digest, commit or run: a page, and the palette of every page."""

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from apps.accounts.domain import access
from apps.endpoints import selectors as endpoints
from apps.registry import selectors as registry
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor

MOST = 8
LONGEST = 200
PARTS = {"palette": "console/_search_hits.html"}
PLACES = (
    ("home", "Home", "/", ""),
    ("cube", "Models", "/models", ""),
    ("terminal", "Builds", "/builds", ""),
    ("endpoint", "Endpoints", "/endpoints", ""),
    ("key", "Your API tokens", "/tokens", ""),
    ("audit", "Audit ledger", "/audit", ""),
    ("plus", "New model", "/models/new", "registry.model.create"),
)


@dataclass(frozen=True)
class Hit:
    """One thing that was found."""

    icon: str
    title: str
    note: str
    href: str


@signed_in
@require_GET
def search(request: HttpRequest) -> HttpResponse:
    """Find by what was typed; without it, offer the places."""
    actor = actor_of(request)
    q = request.GET.get("q", "").strip()[:LONGEST]
    groups = [(title, hits) for title, hits in find(actor, q) if hits]
    found = sum(len(hits) for title, hits in groups if title != "Go to")
    context = {
        "q": q,
        "groups": groups,
        "found": "Nothing" if not found else "One thing" if found == 1 else f"{found} things",
    }
    return page(request, "console/search.html", context, parts=PARTS)


def find(actor: Actor, q: str) -> list[tuple[str, list[Hit]]]:
    """Return what matches `q`, the likeliest kind first."""
    places = [
        Hit(icon, title, "", href)
        for icon, title, href, verb in PLACES
        if q.lower() in title.lower() and (not verb or access.allows(actor, verb))
    ]
    if not q:
        return [("Go to", places)]
    return [
        ("Models", _models(actor, q)),
        ("Endpoints", _endpoints(actor, q)),
        ("Versions", _versions(actor, q)),
        ("Go to", places),
    ]


def _models(actor: Actor, q: str) -> list[Hit]:
    hits = []
    for model in registry.search_models(actor, q, limit=MOST):
        newest = f"v{model.latest_number}, " if model.latest_number else ""
        note = f"{newest}{model.team.name}"
        hits.append(Hit("cube", model.name, note, f"/models/{model.name}"))
    return hits


def _endpoints(actor: Actor, q: str) -> list[Hit]:
    return [
        Hit(
            "endpoint",
            f"{row.name} in {row.environment.slug}",
            str(endpoints.view(row).state),
            f"/endpoints/{row.environment.slug}/{row.name}",
        )
        for row in endpoints.endpoints(actor, q=q)[:MOST]
    ]


def _versions(actor: Actor, q: str) -> list[Hit]:
    name, _, number = q.rpartition(" v")
    hits = [
        Hit(
            "layers", f"{v.model.name} v{v.number}", v.state, _version_href(v.model.name, v.number)
        )
        for v in registry.search_versions(actor, q, limit=MOST)
    ]
    if name and number.isascii() and number.isdigit() and len(number) < 10:
        named = registry.search_models(actor, name, limit=1)
        exact = [m for m in named if (m.latest_number or 0) >= int(number)]
        hits += [
            Hit("layers", f"{m.name} v{number}", "", _version_href(m.name, int(number)))
            for m in exact
        ]
    return hits


def _version_href(name: str, number: int) -> str:
    return f"/models/{name}/versions/{number}"
