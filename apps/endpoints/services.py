"""A person's verbs on endpoints: each is one transaction, one lock, one ledger entry."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.endpoints import revisions, selectors
from apps.endpoints.domain import keys
from apps.endpoints.domain.states import REVISION, RevisionMove, RevisionState
from apps.endpoints.models import Endpoint, EndpointKey
from apps.endpoints.revisions import Served
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.registry import selectors as registry
from apps.registry.models import RegisteredModel
from controlplane.db.reconcile import commanding
from controlplane.kernel import secretfile
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid, Missing


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
    """Have a version answer at its model's endpoint, in an environment that asks for no release.

    See `revisions.add` for the arguments, and for what else is raised.

    Raises:
        Denied: The actor may not serve there.
        Missing: There is no such model or environment.
        Conflict: The environment is protected: only a release brings anything there.
    """
    row = registry.model(actor, model)
    where = environments.by_slug(environment)
    access.require(actor, "endpoints.serve", team=row.team.slug, environment=where.slug)
    _refuse_protected(row, version, where)
    return revisions.add(
        actor=actor, verb="endpoints.serve", model=row, version=registry.version_of(row, version),
        environment=where, variant=variant, runtime=runtime, replicas=replicas,
        configuration=configuration or {}, reason=reason,
    )  # fmt: skip


@transaction.atomic
def retire(*, actor: Actor, endpoint: str, reason: str = "") -> Endpoint:
    """Stop answering at an endpoint, and stop its servers.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint.
    """
    seen = _allowed(actor, "endpoints.retire", endpoint)
    now = SystemClock().now()
    if revisions.locked(seen.pk).retired_at is not None:
        return seen
    with commanding(Endpoint, seen.pk, now=now) as row:
        row.retired_at = now
        row.generation += 1
        for revision in row.revisions.filter(ended_at=None).order_by("number"):
            if RevisionMove.DRAIN in REVISION.moves_from(RevisionState(revision.state)):
                revisions.move(revision, RevisionMove.DRAIN)
        _tell(actor, "endpoints.retire", row, reason=reason)
    revisions.changed(row)
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
    revisions.check_replicas(replicas, seen.environment)
    revision = revisions.current(revisions.locked(seen.pk))
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
    revisions.changed(row)
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
    revisions.changed(row)
    return key, secret


@transaction.atomic
def revoke_key(*, actor: Actor, endpoint: str, key: str, reason: str = "") -> EndpointKey:
    """Let nobody in by a key any more. Without any key left, nobody is let in at all.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint or key.
    """
    seen = _allowed(actor, "endpoints.key.revoke", endpoint)
    found = EndpointKey.objects.filter(endpoint=revisions.locked(seen.pk), public_id=key).first()
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
    revisions.changed(row)
    return found


@transaction.atomic
def open_to_all(*, actor: Actor, endpoint: str, reason: str) -> Endpoint:
    """Let callers in without a key again. The keys there are stay; the next new one closes it.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint.
        Invalid: No reason is given: whoever wonders why anybody may call must find one.
    """
    seen = _allowed(actor, "endpoints.open", endpoint)
    if not reason.strip():
        raise Invalid(
            "Opening an endpoint to everybody needs a reason.",
            remedy="Say why callers need no key any more.",
            field="reason",
            code="endpoint.reason_needed",
        )
    if not seen.key_required:
        return seen
    with commanding(Endpoint, seen.pk, now=SystemClock().now()) as row:
        row.key_required = False
        row.generation += 1
        _tell(
            actor, "endpoints.open", row, reason=reason.strip(),
            before={"key_required": True}, after={"key_required": False},
        )  # fmt: skip
    revisions.changed(row)
    return selectors.endpoint(actor, endpoint)


def signing_seed() -> bytes:
    """Return the key that signs the endpoints' keys."""
    return secretfile.read_or_make(settings.ENDPOINT_KEYS, size=keys.SEED_BYTES)


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


def _refuse_protected(model: RegisteredModel, version: int, environment: Environment) -> None:
    if environment.protected:
        where = {"model": model.name, "version": version, "environment": environment.slug}
        raise Conflict(
            f"{environment.slug} is protected: a version gets there by a release.",
            remedy=f"Propose one: {settings.PUBLIC_URL}/releases/new?{urlencode(where)}",
            field="environment",
            code="endpoint.needs_release",
        )
