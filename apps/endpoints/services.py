"""A person's verbs on endpoints: each is one transaction, one lock, one ledger entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.builds.domain.variants import VariantState
from apps.endpoints import selectors
from apps.endpoints.domain import choice, keys, runtimes
from apps.endpoints.domain.decide import ON_ITS_WAY
from apps.endpoints.domain.states import REVISION, RevisionMove, RevisionState
from apps.endpoints.models import Endpoint, EndpointKey, Revision
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.registry import selectors as registry
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel import secretfile
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid, Missing

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
def serve(
    *,
    actor: Actor,
    model: str,
    version: int,
    environment: str,
    variant: str = "",
    runtime: str = "",
    replicas: int | None = None,
    configuration: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Served:
    """Have a version answer at its model's endpoint in an environment.

    A new revision is brought up beside the one that is live, which answers until the new one
    does. Asking again for what runs, or is on its way, changes nothing.

    Args:
        actor: Who asks.
        model: The model's name.
        version: The version's number.
        environment: The environment's slug.
        variant: A `VariantKind`; the fastest that passed its proof by default.
        runtime: A name in the runtime catalogue; the variant's best by default.
        replicas: How many processes; the environment's default by default.
        configuration: Settings of the runtime.
        reason: Why, for the ledger.

    Raises:
        Denied: The actor may not serve there.
        Missing: There is no such model, version, environment or variant.
        Conflict: The version or variant may not be served.
        Invalid: The runtime does not fit, or the replicas are too many.
    """
    row = registry.model(actor, model)
    where = environments.by_slug(environment)
    verb = "endpoints.serve_protected" if where.protected else "endpoints.serve"
    access.require(actor, verb, team=row.team.slug, environment=where.slug)
    number = registry.version_of(row, version)
    _refuse_unfit(number)
    wanted = _wanted(
        number, where, variant=variant, runtime=runtime, replicas=replicas,
        configuration=configuration or {},
    )  # fmt: skip
    now = SystemClock().now()
    endpoint, _ = Endpoint.objects.get_or_create(
        model=row, environment=where, defaults={"name": row.name, "next_reconcile_at": now}
    )
    current = _current(_locked(endpoint.pk))
    if current is not None and wanted.is_as(current):
        return Served(endpoint, current, created=False)
    with commanding(Endpoint, endpoint.pk, now=now) as endpoint:
        revision = _new_revision(endpoint, wanted, actor)
        endpoint.generation += 1
        endpoint.retired_at = None
        audit.record(
            actor=actor,
            verb=verb,
            target=f"endpoint/{endpoint.public_id}",
            subject=f"{row.name} v{number.number} in {where.slug}",
            after={
                "revision": revision.number,
                "version": number.number,
                "bundle_digest": revision.bundle_digest,
                "runtime": revision.runtime,
                "replicas": revision.replicas,
            },
            reason=reason,
        )
    _changed(endpoint)
    return Served(endpoint, revision, created=True)


@transaction.atomic
def retire(*, actor: Actor, endpoint: str, reason: str = "") -> Endpoint:
    """Stop answering at an endpoint, and stop its servers.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint.
    """
    seen = _allowed(actor, "endpoints.retire", endpoint)
    now = SystemClock().now()
    if _locked(seen.pk).retired_at is not None:
        return seen
    with commanding(Endpoint, seen.pk, now=now) as row:
        row.retired_at = now
        row.generation += 1
        for revision in row.revisions.filter(ended_at=None).order_by("number"):
            if RevisionMove.DRAIN in REVISION.moves_from(RevisionState(revision.state)):
                _move(revision, RevisionMove.DRAIN)
        _tell(actor, "endpoints.retire", row, reason=reason)
    _changed(row)
    return selectors.endpoint(actor, endpoint)


@transaction.atomic
def scale(*, actor: Actor, endpoint: str, replicas: int, reason: str = "") -> Endpoint:
    """Change how many replicas the current revision has, without a new revision.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint.
        Invalid: The environment does not allow so many.
        Conflict: Nothing runs there.
    """
    seen = _allowed(actor, "endpoints.scale", endpoint)
    _check_replicas(replicas, seen.environment)
    revision = _current(_locked(seen.pk))
    if revision is None:
        raise Conflict(
            f"Nothing runs at the endpoint {seen.name}.",
            remedy="Serve a version first.",
            code="endpoint.nothing_runs",
        )
    before = revision.replicas
    if before == replicas:
        return seen
    with commanding(Endpoint, seen.pk, now=SystemClock().now()) as row:
        row.generation += 1
        revision.replicas = replicas
        revision.save(update_fields=["replicas", "changed_at"])
        _tell(
            actor, "endpoints.scale", row, reason=reason,
            before={"replicas": before}, after={"replicas": replicas},
        )  # fmt: skip
    _changed(row)
    return selectors.endpoint(actor, endpoint)


@transaction.atomic
def create_key(*, actor: Actor, endpoint: str, name: str) -> tuple[EndpointKey, str]:
    """Make a key for an endpoint; from its first key on, callers need one.

    Returns:
        The key's row, and the key itself, which cannot be shown again.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint.
        Invalid: The name is empty.
    """
    seen = _allowed(actor, "endpoints.key.create", endpoint)
    if not name.strip():
        raise Invalid("A key needs a name.", remedy="Name who will use it.", field="name")
    with commanding(Endpoint, seen.pk, now=SystemClock().now()) as row:
        key = EndpointKey(endpoint=row, name=name.strip()[:80], created_by=actor.name)
        secret = keys.mint(signing_seed(), name=key.public_id)
        key.tail = secret[-6:]
        key.save()
        row.key_required = True
        row.generation += 1
        _tell(actor, "endpoints.key.create", row, after={"key": key.public_id, "name": key.name})
    _changed(row)
    return key, secret


@transaction.atomic
def revoke_key(*, actor: Actor, endpoint: str, key: str, reason: str = "") -> EndpointKey:
    """Let nobody in by a key any more. Without any key left, nobody is let in at all.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint or key.
    """
    seen = _allowed(actor, "endpoints.key.revoke", endpoint)
    found = EndpointKey.objects.filter(endpoint=_locked(seen.pk), public_id=key).first()
    if found is None:
        raise Missing("This endpoint has no such key.", code="endpoint.key_missing")
    if found.revoked_at is not None:
        return found
    with commanding(Endpoint, seen.pk, now=SystemClock().now()) as row:
        found.revoked_at = SystemClock().now()
        found.save(update_fields=["revoked_at", "changed_at"])
        row.generation += 1
        _tell(
            actor, "endpoints.key.revoke", row, reason=reason,
            before={"key": found.public_id, "name": found.name},
        )  # fmt: skip
    _changed(row)
    return found


def signing_seed() -> bytes:
    """Return the key that signs the endpoints' keys."""
    return secretfile.read_or_make(settings.ENDPOINT_KEYS, size=keys.SEED_BYTES)


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
) -> _Wanted:
    rows = {v.pk: v for v in version.variants.order_by("id")}
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
    _check_replicas(count, environment)
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


def _check_replicas(replicas: int, environment: Environment) -> None:
    if not 1 <= replicas <= environment.max_replicas:
        raise Invalid(
            f"{replicas} replicas are not allowed in {environment.slug}.",
            remedy=f"Ask for 1 to {environment.max_replicas}, or have an admin raise the limit.",
            field="replicas",
            code="endpoint.replicas",
        )


def _new_revision(endpoint: Endpoint, wanted: _Wanted, actor: Actor) -> Revision:
    coming = endpoint.revisions.filter(state__in=ON_ITS_WAY).first()
    if coming is not None:
        _make_way(endpoint, coming)
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
    _move(coming, RevisionMove.SETTLE if answers else RevisionMove.DRAIN)


def _current(endpoint: Endpoint) -> Revision | None:
    """Return the revision on its way, or else the live one."""
    active = endpoint.revisions.filter(state__in=[*ON_ITS_WAY, RevisionState.LIVE])
    return active.order_by("-number").first()


def _move(revision: Revision, move: RevisionMove) -> None:
    now = SystemClock().now()
    revision.state = REVISION.after(RevisionState(revision.state), move)
    revision.state_since = now
    changed = ["state", "state_since", "changed_at"]
    if revision.state == RevisionState.LIVE:
        revision.live_at = now
        changed.append("live_at")
    revision.save(update_fields=changed)


def _locked(pk: int) -> Endpoint:
    """Return the endpoint as it is, so that nobody changes it before this transaction ends."""
    return Endpoint.objects.select_for_update(no_key=True).get(pk=pk)


def _allowed(actor: Actor, verb: str, endpoint: str) -> Endpoint:
    row = selectors.endpoint(actor, endpoint)
    access.require(actor, verb, team=row.model.team.slug, environment=row.environment.slug)
    return row


def _tell(actor: Actor, verb: str, row: Endpoint, **what: Any) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        target=f"endpoint/{row.public_id}",
        subject=f"{row.name} in {row.environment.slug}",
        **what,
    )


def _changed(endpoint: Endpoint) -> None:
    announce(f"endpoint/{endpoint.public_id}")
    announce("home")
    nudge(KIND, endpoint.pk)
