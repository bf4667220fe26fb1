"""Bringing a new revision up at an endpoint: the one way in which anything comes to be served.

Only two may call `add`: the verb `serve`, for environments without protection, and a rollout,
which holds the authorization of a release. An import contract keeps everybody else out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from apps.audit import services as audit
from apps.builds.domain.variants import VariantState
from apps.endpoints.domain import choice, runtimes
from apps.endpoints.domain.decide import ON_ITS_WAY
from apps.endpoints.domain.states import REVISION, RevisionMove, RevisionState
from apps.endpoints.domain.values import ReplicaState
from apps.endpoints.models import Endpoint, Revision
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion, RegisteredModel
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

KIND = "endpoint"
REFUSED = (VersionState.ARCHIVED, VersionState.REJECTED)


@dataclass(frozen=True)
class Served:
    """What came of asking to serve: `created` is False when it was so already."""

    endpoint: Endpoint
    revision: Revision
    created: bool


@dataclass(frozen=True)
class _Wanted:
    """What a new revision would be."""

    version: ModelVersion
    variant_id: int
    bundle_digest: str
    runtime: str
    replicas: int
    configuration: dict[str, Any]

    def is_as(self, revision: Revision) -> bool:
        """Return whether `revision` runs just this; how many of it does not matter."""
        return (
            self.version.pk == revision.version_id
            and self.bundle_digest == revision.bundle_digest
            and self.runtime == revision.runtime
            and self.configuration == revision.configuration
        )


@transaction.atomic
def add(
    *,
    actor: Actor,
    verb: str,
    model: RegisteredModel,
    version: ModelVersion,
    environment: Environment,
    variant: str,
    runtime: str,
    replicas: int | None,
    configuration: Mapping[str, Any],
    reason: str,
    bundle_digest: str = "",
    anew: bool = False,
) -> Served:
    """Have a version answer at its model's endpoint in an environment.

    A new revision is brought up beside the one that is live, which answers until the new one
    does; one that was live before and is still warm is taken back as it is. Asking again for
    what runs, or is on its way, changes nothing.

    Args:
        actor: Who asks; the caller has checked that they may.
        verb: What the ledger calls it.
        model: The model.
        version: Its version.
        environment: Where.
        variant: A `VariantKind`; "" for the fastest that passed its proof.
        runtime: A name in the runtime catalogue; "" for the variant's best.
        replicas: How many processes; None for the environment's default.
        configuration: Settings of the runtime.
        reason: Why, for the ledger.
        bundle_digest: The only bundle that will do; "" for the variant's newest.
        anew: Whether a revision of its own is brought up also where just this runs already.

    Raises:
        Missing: There is no such variant, or none with that bundle.
        Conflict: The version or variant may not be served.
        Invalid: The runtime does not fit, or the replicas are too many.
    """
    _refuse_unfit(version)
    wanted = _wanted(
        version, environment, variant=variant, runtime=runtime, replicas=replicas,
        configuration=configuration, bundle_digest=bundle_digest,
    )  # fmt: skip
    now = SystemClock().now()
    endpoint, _ = Endpoint.objects.get_or_create(
        model=model,
        environment=environment,
        defaults={"name": model.name, "next_reconcile_at": now},
    )
    known = current(locked(endpoint.pk))
    if not anew and known is not None and wanted.is_as(known):
        return Served(endpoint, known, created=False)
    with commanding(Endpoint, endpoint.pk, now=now) as endpoint:
        warm = None if anew else _revived(endpoint, wanted)
        revision = warm or _new_revision(endpoint, wanted, actor)
        endpoint.generation += 1
        endpoint.retired_at = None
        audit.record(
            actor=actor,
            verb=verb,
            target=f"endpoint/{endpoint.public_id}",
            subject=f"{model.name} v{version.number} in {environment.slug}",
            after={
                "revision": revision.number,
                "version": version.number,
                "bundle_digest": revision.bundle_digest,
                "runtime": revision.runtime,
                "replicas": revision.replicas,
            },
            reason=reason,
        )
    changed(endpoint)
    return Served(endpoint, revision, created=True)


def _refuse_unfit(version: ModelVersion) -> None:
    if version.state in REFUSED:
        raise Conflict(
            f"Version {version.number} is {version.state}.",
            remedy="Restore it first, or serve another version."
            if version.state == VersionState.ARCHIVED
            else "Its build page says why; serve another version.",
            field="version",
            code="endpoint.version_not_servable",
        )


def _wanted(
    version: ModelVersion,
    environment: Environment,
    *,
    variant: str,
    runtime: str,
    replicas: int | None,
    configuration: Mapping[str, Any],
    bundle_digest: str,
) -> _Wanted:
    built = version.variants.order_by("id")
    rows = {v.pk: v for v in built if bundle_digest in ("", v.bundle_digest)}
    chosen = choice.choose(
        [_candidate(v) for v in rows.values()],
        kind=variant,
        lossy_allowed=environment.pk == environments.in_order().values_list("pk", flat=True)[0],
    )
    name = runtime or next(iter(chosen.runtimes), "")
    if chosen.runtimes and name not in chosen.runtimes:
        raise Invalid(
            f"The runtime “{name}” does not serve the variant “{chosen.kind}”.",
            remedy=f"Choose one of {', '.join(chosen.runtimes)}.",
            field="runtime",
            code="runtime.does_not_fit",
        )
    settled = runtimes.runtime(name)
    runtimes.configure(settled, configuration)
    count = environment.default_replicas if replicas is None else replicas
    check_replicas(count, environment)
    return _Wanted(
        version=version,
        variant_id=chosen.id,
        bundle_digest=rows[chosen.id].bundle_digest,
        runtime=settled.name,
        replicas=count,
        configuration=dict(configuration),
    )


def _candidate(variant: Any) -> choice.Candidate:
    return choice.Candidate(
        id=variant.pk,
        kind=variant.kind,
        state=variant.state if variant.bundle_digest else VariantState.FAILED,
        verdict=variant.verdict,
        reason=variant.reason,
        p50_ms=variant.p50_ms,
        runtimes=tuple(variant.runtimes),
    )


def check_replicas(replicas: int, environment: Environment) -> None:
    """Refuse more replicas than the environment allows, and fewer than one.

    Raises:
        Invalid: They are too many or too few.
    """
    if not 1 <= replicas <= environment.max_replicas:
        raise Invalid(
            f"{replicas} replicas are not allowed in {environment.slug}.",
            remedy=f"Ask for 1 to {environment.max_replicas}, or have an admin raise the limit.",
            field="replicas",
            code="endpoint.replicas",
        )


def _revived(endpoint: Endpoint, wanted: _Wanted) -> Revision | None:
    """Take back a revision that just this once was, where its servers are still warm.

    It has passed every check, and its processes have not changed since: going back to it is a
    change of route, and nothing starts.
    """
    warm = endpoint.revisions.filter(state=RevisionState.DRAINING, live_at__isnull=False)
    for revision in warm.order_by("-number"):
        ready = [r for r in revision.observed_replicas if r["state"] == ReplicaState.READY]
        same = wanted.is_as(revision) and wanted.replicas == revision.replicas
        if same and len(ready) == revision.replicas:
            _clear_the_way(endpoint)
            move(revision, RevisionMove.REVIVE)
            return revision
    return None


def _clear_the_way(endpoint: Endpoint) -> None:
    coming = endpoint.revisions.filter(state__in=ON_ITS_WAY).first()
    if coming is not None:
        _make_way(endpoint, coming)


def _new_revision(endpoint: Endpoint, wanted: _Wanted, actor: Actor) -> Revision:
    _clear_the_way(endpoint)
    newest = endpoint.revisions.order_by("-number").values_list("number", flat=True).first()
    return Revision.objects.create(
        endpoint=endpoint,
        number=(newest or 0) + 1,
        version=wanted.version,
        variant_id=wanted.variant_id,
        bundle_digest=wanted.bundle_digest,
        runtime=wanted.runtime,
        replicas=wanted.replicas,
        configuration=wanted.configuration,
        state_since=SystemClock().now(),
        requested_by=actor.name,
    )


def _make_way(endpoint: Endpoint, coming: Revision) -> None:
    """End the way of a revision that is overtaken by another.

    The very first one that already answers becomes live: it has passed every check, and there
    is no other that could answer meanwhile.
    """
    has_live = endpoint.revisions.filter(state=RevisionState.LIVE).exists()
    answers = coming.state == RevisionState.SHIFTING and not has_live
    move(coming, RevisionMove.SETTLE if answers else RevisionMove.DRAIN)


def current(endpoint: Endpoint) -> Revision | None:
    """Return the revision on its way, or else the live one."""
    coming = endpoint.revisions.filter(state__in=ON_ITS_WAY).first()
    return coming or endpoint.revisions.filter(state=RevisionState.LIVE).first()


def move(revision: Revision, move: RevisionMove) -> None:
    """Make one move of a revision whose endpoint is locked."""
    now = SystemClock().now()
    revision.state = REVISION.after(RevisionState(revision.state), move)
    revision.state_since = now
    changed = ["state", "state_since", "changed_at"]
    if revision.state == RevisionState.LIVE:
        revision.live_at = now
        changed.append("live_at")
    revision.save(update_fields=changed)


def locked(pk: int) -> Endpoint:
    """Return the endpoint as it is, so that nobody changes it before this transaction ends."""
    return Endpoint.objects.select_for_update(no_key=True).get(pk=pk)


def changed(endpoint: Endpoint) -> None:
    """Tell open pages and the loop that the intent has changed."""
    announce(f"endpoint/{endpoint.public_id}")
    announce("home")
    nudge(KIND, endpoint.pk)
