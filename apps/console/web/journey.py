"""A model's and a version's own pages: what every area knows of them, in one place."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from apps.accounts.domain import access
from apps.audit import selectors as ledger
from apps.audit.domain.words import Told, tell
from apps.builds import selectors as builds
from apps.builds.models import Build, Variant
from apps.builds.web import sheets
from apps.console import standing
from apps.console.domain import front
from apps.endpoints import selectors as endpoints
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.gates.web import readiness
from apps.registry import selectors as registry
from apps.registry.domain.kinds import MirrorState
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion, RegisteredModel
from apps.registry.web import comparison
from apps.releases import selectors as releases
from apps.releases.web import listing
from controlplane.http.htmx import page
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in
from controlplane.http.templatetags.components import rounded, sized
from controlplane.kernel.actor import Actor

VERSIONS = 25
METRICS = 3  # columns of the versions' table
EVENTS = 40
TABS = ("overview", "build", "readiness", "releases", "lineage", "files")
MODEL_PARTS = {
    "versions": "console/_model_versions.html",
    "places": "console/_model_places.html",
}
VERSION_PARTS = {
    "head": "console/_version_head.html",
    "variants": "console/_variants.html",
    "serve": "console/_version_serve.html",
    "places": "console/_model_places.html",
}


@dataclass(frozen=True)
class EnvironmentChoice:
    """Where one may serve; `denied` says why not."""

    slug: str
    title: str
    denied: str


@dataclass(frozen=True)
class VariantChoice:
    """What one may serve, with the numbers to choose by."""

    kind: str
    words: str
    best: bool


@dataclass(frozen=True)
class ServeChoices:
    """The form "serve this version": what can be chosen, or why nothing can.

    Attributes:
        reason: Why there is no variant to serve.
    """

    variants: list[VariantChoice]
    environments: list[EnvironmentChoice]
    runtimes: list[str]
    reason: str


@signed_in
@require_GET
def model(request: HttpRequest, name: str) -> HttpResponse:
    """Show one registered model: its versions, where it stands, what people say about it."""
    actor = actor_of(request)
    row = registry.model(actor, name)
    filters = {"q": request.GET.get("q", ""), "state": request.GET.get("state", "")}
    known = filters["state"] in [*VersionState, "all"]
    found = cut(
        registry.versions(row, q=filters["q"], state=filters["state"] if known else ""),
        limit=VERSIONS,
        cursor=request.GET.get("cursor", ""),
    )
    views = endpoints.endpoints_of(actor, row.pk)
    context = {
        "model": row,
        "aliases": registry.aliases(row),
        "follows": environments.protected_aliases(),
        "versions": found.rows,
        "slice": found,
        "metrics": _columns(found.rows),
        "places": standing.places(list(environments.in_order()), views),
        "lead": _model_lead(row, views),
        "filters": filters,
        "states": [str(s) for s in VersionState],
        "base": _base(request),
        "can": _can_model(actor, row),
        "topics": [f"model/{row.public_id}", "endpoint/*"],
    }
    return page(request, "console/model.html", context, parts=MODEL_PARTS)


@signed_in
@require_GET
def version(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Show one version; each tab has its own address."""
    actor = actor_of(request)
    row = registry.version(actor, name, number)
    tab = request.GET.get("tab", "")
    tab = tab if tab in TABS else TABS[0]
    made = builds.builds_of(row.pk)
    context = {
        **_version_frame(actor, row, made, tab),
        **_variants(row, made),
        **_TABS[tab](actor, row),
    }
    return page(request, "console/version.html", context, parts=VERSION_PARTS)


def _version_frame(actor: Actor, row: ModelVersion, made: list[Build], tab: str) -> dict[str, Any]:
    views = endpoints.endpoints_of(actor, row.model_id)
    where = list(environments.in_order())
    places = standing.places(where, views, row.number)
    newest = made[0] if made else None
    can = _can_version(actor, row)
    servable = _servable(made)
    return {
        "model": row.model,
        "version": row,
        "aliases": list(row.aliases.all()),
        "previous": _previous(row),
        "tab": tab,
        "tabs": _tabs(row, made),
        "lead": _version_lead(row, newest, places, servable),
        "builds": made,
        "build": newest,
        "ended": [str(s) for s in builds.ENDED],
        "places": places,
        "serve": _serve(actor, row, made, where, servable),
        "can": can,
        "topics": _topics(row, newest),
    }


def _overview(actor: Actor, row: ModelVersion) -> dict[str, Any]:
    return {"file_count": len(registry.files(row))}


def _lineage(actor: Actor, row: ModelVersion) -> dict[str, Any]:
    events: list[Told] = []
    if access.allows(actor, "audit.read"):
        events = [_told(e) for e in ledger.of_target(f"version/{row.public_id}", limit=EVENTS)]
    return {"events": events, "facts": comparison.facts(row.facts)}


def _releases(actor: Actor, row: ModelVersion) -> dict[str, Any]:
    return {"releases": listing.present(releases.of_version(row.pk))}


def _files(actor: Actor, row: ModelVersion) -> dict[str, Any]:
    return {"files": registry.files(row)}


def _build(actor: Actor, row: ModelVersion) -> dict[str, Any]:
    return {}


_TABS = {
    "overview": _overview,
    "build": _build,
    "readiness": readiness.context,
    "releases": _releases,
    "lineage": _lineage,
    "files": _files,
}


def _variants(row: ModelVersion, made: list[Build]) -> dict[str, Any]:
    """Return the variants of the build that tells most, as rows and as a chart."""
    shown = next((b for b in made if b.state == "succeeded"), made[0] if made else None)
    variants = builds.variants(shown) if shown else []
    points = [
        front.Point(p.kind, p.p95_ms, p.difference, p.verdict == "passed")
        for p in builds.pareto(variants)
    ]
    best = front.fastest(points)
    chosen = next((v for v in variants if best and v.kind == best.kind), None)
    return {
        "variants": sheets.variant_rows(variants, chosen),
        "front": front.figure(points, row.model.tolerance),
        "finding": front.finding(points),
        "proof_note": sheets.proof_note(variants),
    }


def _servable(made: list[Build]) -> list[Variant]:
    newest = next((b for b in made if b.state == "succeeded"), None)
    rows = builds.variants(newest) if newest else []
    return [v for v in rows if v.state == "built" and v.bundle_digest]


def _serve(
    actor: Actor,
    row: ModelVersion,
    made: list[Build],
    where: list[Environment],
    servable: list[Variant],
) -> ServeChoices:
    passed = [v for v in servable if v.verdict == "passed" and v.p95_ms is not None]
    original = [v for v in servable if v.kind == "native"]
    best = min(passed, key=lambda v: v.p95_ms or 0.0, default=next(iter(original), None))
    choices = [_where(actor, row, e) for e in where]
    return ServeChoices(
        variants=[VariantChoice(v.kind, _numbers(v), v is best) for v in servable],
        environments=choices if any(not c.denied for c in choices) else [],
        runtimes=sorted({str(r) for v in servable for r in v.runtimes}),
        reason=_why_not(row, made),
    )


def _where(actor: Actor, row: ModelVersion, environment: Environment) -> EnvironmentChoice:
    team, slug = row.model.team.slug, environment.slug
    if environment.protected:
        return EnvironmentChoice(slug, environment.title, "needs a release")
    may = access.allows(actor, "endpoints.serve", team=team, environment=slug)
    return EnvironmentChoice(slug, environment.title, "" if may else "needs a contributor")


def _why_not(row: ModelVersion, made: list[Build]) -> str:
    if row.state in (VersionState.ARCHIVED, VersionState.REJECTED):
        return f"It is {row.state}, so it takes no traffic."
    if made and made[0].state not in builds.ENDED:
        return "It is being built. What can be served appears here when the build has ended."
    if made and made[0].state == "failed":
        return "Its build failed. Mend what it says, and build again."
    return "Build it first: what is served is a bundle that a build has made and measured."


def _numbers(variant: Variant) -> str:
    parts = [sized(variant.size)]
    if variant.p95_ms is not None:
        parts.append(f"p95 {rounded(variant.p95_ms)} ms")
    if variant.kind == "native":
        parts.append("the original")
    elif variant.max_difference is not None:
        lossy = "too lossy: " if variant.verdict == "too_lossy" else ""
        parts.append(f"{lossy}differs by {rounded(variant.max_difference, 2)}")
    return ", ".join(parts)


def _version_lead(
    row: ModelVersion,
    build: Build | None,
    places: Sequence[standing.Place],
    servable: list[Variant],
) -> str:
    """Return what is so and what comes next."""
    live = [p.environment for p in places if p.live]
    if live:
        return f"It serves in {' and '.join(live)}."
    coming = next((p for p in places if p.state and not p.live), None)
    if coming is not None:
        return f"In {coming.environment}: {coming.word.lower()}."
    if row.mirror_state == MirrorState.ADOPTING:
        return "Its files are being read from MLflow."
    if row.state == VersionState.ARCHIVED:
        return "It is archived."
    if build is None:
        return "It was not built yet."
    if build.state not in builds.ENDED:
        return f"Build {build.number} is at work."
    if servable:
        return "It is proven and can be served."
    return "Its build failed." if build.state == "failed" else "It was not built yet."


def _model_lead(row: RegisteredModel, views: Sequence[endpoints.EndpointView]) -> str:
    live = [
        f"v{v.live.version.number} serves in {v.row.environment.slug}" for v in views if v.live
    ]
    if live:
        return f"{', '.join(live)}."
    if row.version_count:
        return f"{row.version_count} registered, none serves."
    return "It has no version yet."


def _previous(row: ModelVersion) -> int | None:
    """Return the number of the version before; numbers given by MLflow may leave gaps."""
    if row.number == 1:
        return None
    earlier = registry.versions(row.model).filter(number__lt=row.number)
    return earlier.values_list("number", flat=True).first()


def _tabs(row: ModelVersion, made: list[Build]) -> list[tuple[str, str, str]]:
    variants = len(builds.variants(made[0])) if made else 0
    return [
        ("overview", "Overview", ""),
        ("build", "Build and proof", f"{variants} variants" if variants else ""),
        ("readiness", "Readiness", ""),
        ("releases", "Releases", ""),
        ("lineage", "Lineage", ""),
        ("files", "Files", ""),
    ]


def _topics(row: ModelVersion, build: Build | None) -> list[str]:
    topics = [f"version/{row.public_id}", f"model/{row.model.public_id}", "endpoint/*"]
    return [*topics, f"build/{build.public_id}"] if build else topics


def _columns(versions: Sequence[ModelVersion]) -> list[str]:
    """Return the metrics that most versions on the page have."""
    counted = Counter(name for v in versions for name in v.metrics)
    return [name for name, _ in sorted(counted.items(), key=lambda c: (-c[1], c[0]))[:METRICS]]


def _told(event: Any) -> Told:
    return tell(
        at=event.at,
        actor_kind=event.actor_kind,
        actor_name=event.actor_name,
        verb=event.verb,
        subject=event.subject,
        reason=event.reason,
    )


def _can_model(actor: Actor, row: RegisteredModel) -> dict[str, bool]:
    verbs = {
        "edit": "registry.model.edit",
        "register": "registry.version.register",
        "alias": "registry.alias.move",
        "archive": "registry.model.archive",
    }
    return {name: access.allows(actor, v, team=row.team.slug) for name, v in verbs.items()}


def _can_version(actor: Actor, row: ModelVersion) -> dict[str, bool]:
    verbs = {
        "build": "builds.start",
        "alias": "registry.alias.move",
        "archive": "registry.version.archive",
        "propose": "releases.propose",
    }
    team = row.model.team.slug
    return {name: access.allows(actor, v, team=team) for name, v in verbs.items()}


def _base(request: HttpRequest) -> str:
    kept = [
        (n, v) for n, vs in request.GET.lists() for v in vs if v and n not in ("cursor", "part")
    ]
    return f"{urlencode(kept)}&" if kept else ""
