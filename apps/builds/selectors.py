"""Reading builds, their logs, variants and proof sheets."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Exists, F, OuterRef, Prefetch, QuerySet

from apps.accounts.domain import access
from apps.builds.domain.policy import BUILDABLE
from apps.builds.domain.states import BuildState
from apps.builds.domain.variants import ProofVerdict, VariantKind, VariantState
from apps.builds.models import Build, BuildLogChunk, BuildStep, Variant
from apps.registry import selectors as registry
from apps.registry.domain.kinds import MirrorState
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing

ENDED = frozenset({BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED})
ACTIVE = [str(state) for state in BuildState if state not in ENDED]
ORDER = {str(kind): place for place, kind in enumerate(VariantKind)}


@dataclass(frozen=True)
class LogPart:
    """A part of a build's log.

    Attributes:
        text: The lines.
        next: Where to ask for what follows, as `after`.
        ended: Whether nothing will follow.
    """

    text: str
    next: int
    ended: bool


@dataclass(frozen=True)
class ParetoPoint:
    """One variant on the chart of speed against quality.

    Attributes:
        kind: Which variant.
        p95_ms: Latency at a batch of 1, in milliseconds.
        difference: Largest |difference| to the native model.
        agreement: Share of equal labels, 0-1.
        verdict: What the proof sheet says.
        on_front: Whether no other variant is both faster and closer.
    """

    kind: str
    p95_ms: float
    difference: float
    agreement: float | None
    verdict: str
    on_front: bool


def visible(actor: Actor) -> QuerySet[Build]:
    """Return the builds that `actor` may see, with their version, model and team."""
    access.require(actor, "builds.read")
    return Build.objects.select_related("version__model__team").filter(
        version__model__in=registry.visible_models(actor).values("id")
    )


def builds(
    actor: Actor, *, model: str = "", version: int | None = None, state: str = ""
) -> QuerySet[Build]:
    """Return builds, newest first, with their steps and variants."""
    rows = _whole(visible(actor))
    if model:
        rows = rows.filter(version__model__name=model)
    if version is not None:
        rows = rows.filter(version__number=version)
    if state:
        rows = rows.filter(state__in=ACTIVE if state == "active" else [state])
    return rows.order_by("-created_at", "-id")


def build(actor: Actor, public_id: str) -> Build:
    """Return one build, with its steps and variants.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    row = _whole(visible(actor)).filter(public_id=public_id).first()
    if row is None:
        raise Missing(
            f"There is no build {public_id[:20]!r}.",
            remedy="Look at the builds of the version.",
            code="build.missing",
        )
    return row


def builds_of(version_id: int, *, limit: int = 20) -> list[Build]:
    """Return the builds of one version with their variants, newest first.

    The caller may see the version.
    """
    rows = Build.objects.select_related("version__model__team").filter(version_id=version_id)
    return list(rows.prefetch_related("variants").order_by("-number")[:limit])


def latest_build(version_id: int) -> Build | None:
    """Return the newest build of a version; the caller may see the version."""
    return next(iter(builds_of(version_id, limit=1)), None)


def active_build(version_id: int) -> Build | None:
    """Return the build of a version that is under way, if one is."""
    return Build.objects.filter(version_id=version_id, state__in=ACTIVE).first()


def active_builds(actor: Actor, *, limit: int = 20) -> list[Build]:
    """Return the builds under way, newest first."""
    return list(builds(actor, state="active")[:limit])


def failed_builds(actor: Actor, *, limit: int = 20) -> list[Build]:
    """Return failed builds that no later build of the same version has mended, newest first."""
    rows = builds(actor, state=BuildState.FAILED)
    newest = rows.exclude(version__builds__number__gt=F("number"))
    return list(newest[:limit])


def unbuilt(*, limit: int) -> list[int]:
    """Return the keys of versions that have no build and could have one, oldest first."""
    return list(
        ModelVersion.objects.filter(
            ~Exists(Build.objects.filter(version=OuterRef("pk"))),
            state=VersionState.REGISTERED,
            format__in=sorted(BUILDABLE),
            manifest_digest__isnull=False,
            model__archived_at=None,
        )
        .exclude(mirror_state=MirrorState.ADOPTING)
        .order_by("pk")
        .values_list("pk", flat=True)[:limit]
    )


def unbuilt_for_update(version_id: int) -> ModelVersion | None:
    """Lock a version, unless it has a build by now or somebody else holds it."""
    return (
        ModelVersion.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("model__team")
        .filter(pk=version_id, builds=None)
        .first()
    )


def steps(build_row: Build) -> list[BuildStep]:
    """Return the steps of the build's current attempt, in order."""
    return [s for s in build_row.steps.all() if s.attempt == build_row.attempt]


def variants(build_row: Build) -> list[Variant]:
    """Return the variants of a build, native first."""
    return sorted(build_row.variants.all(), key=lambda v: ORDER[v.kind])


def servable(version_id: int) -> list[Variant]:
    """Return the variants of a version that could be served, from its newest good build."""
    good = Build.objects.filter(version_id=version_id, state=BuildState.SUCCEEDED)
    newest = good.order_by("-number").values("pk")[:1]
    rows = Variant.objects.filter(build__in=newest, state=VariantState.BUILT)
    rows = rows.exclude(bundle_digest="")
    return sorted(rows, key=lambda v: ORDER[v.kind])


def variant(version_id: int, kind: str) -> Variant:
    """Return the variant `kind` of a version's newest good build.

    Raises:
        Missing: There is none that could be served.
    """
    for row in servable(version_id):
        if row.kind == kind:
            return row
    raise Missing(
        f"This version has no {kind[:20]} variant that could be served.",
        remedy="Look at the version's build for why, or choose another variant.",
        field="variant",
        code="variant.missing",
    )


def best_variant(version_id: int) -> Variant | None:
    """Return the fastest variant whose proof passed; the native one when none was proved."""
    rows = [v for v in servable(version_id) if v.runtimes]
    passed = [v for v in rows if v.verdict == ProofVerdict.PASSED and v.p95_ms is not None]
    if passed:
        return min(passed, key=lambda v: (v.p95_ms, ORDER[v.kind]))
    return next((v for v in rows if v.kind == VariantKind.NATIVE), None)


def log(build_row: Build, *, after: int = 0, limit: int = 64) -> LogPart:
    """Return what the log of the current attempt says from byte `after` on."""
    chunks = list(
        BuildLogChunk.objects.filter(
            build=build_row, attempt=build_row.attempt, offset__gte=after
        ).order_by("offset", "id")[: limit + 1]
    )
    more, chunks = len(chunks) > limit, chunks[:limit]
    last = chunks[-1] if chunks else None
    return LogPart(
        text="".join(chunk.text for chunk in chunks),
        next=last.offset + last.length if last else after,
        ended=build_row.state in ENDED and not more,
    )


def pareto(rows: Sequence[Variant]) -> list[ParetoPoint]:
    """Return the points of the chart of speed against quality, fastest first."""
    measured = [v for v in rows if v.p95_ms is not None and v.max_difference is not None]
    points = [
        ParetoPoint(
            kind=v.kind,
            p95_ms=v.p95_ms or 0.0,
            difference=v.max_difference or 0.0,
            agreement=v.agreement,
            verdict=v.verdict,
            on_front=not any(_beats(other, v) for other in measured if other is not v),
        )
        for v in measured
    ]
    return sorted(points, key=lambda p: (p.p95_ms, p.kind))


def _beats(one: Variant, other: Variant) -> bool:
    ours = (one.p95_ms or 0.0, one.max_difference or 0.0)
    theirs = (other.p95_ms or 0.0, other.max_difference or 0.0)
    return ours != theirs and ours[0] <= theirs[0] and ours[1] <= theirs[1]


def _whole(rows: QuerySet[Build]) -> QuerySet[Build]:
    return rows.prefetch_related(
        Prefetch("steps", BuildStep.objects.order_by("attempt", "started_at", "id")), "variants"
    )
