"""Verbs on aliases.

An alias that an environment claims ("champion" for production) names what is live there, and
nobody moves it: `follow_live` does, for the worker that brought the release live.
"""

from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments import selectors as environments
from apps.registry import selectors
from apps.registry.domain import names
from apps.registry.domain.drift import Drift
from apps.registry.domain.states import VersionState
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.services import versions
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import Conflict, Denied, Missing


def move_alias(*, actor: Actor, model: str, alias: str, number: int, reason: str = "") -> Alias:
    """Let `alias` name version `number`, creating the alias when the model has none so called.

    Moving it to where it is changes nothing and records nothing.

    Raises:
        Missing: There is no such model or version.
        Invalid: The alias's name is not allowed.
        Denied: The actor may not; or an environment claims the alias, so that only a release
            moves it, and the code is `registry.alias_protected`.
        Conflict: The version is archived or rejected.
    """
    names.alias_name(alias)
    with transaction.atomic():
        row = selectors.model_for_update(actor, model)
        access.require(actor, "registry.alias.move", team=row.team.slug)
        version = selectors.version_of(row, number)
        existing = Alias.objects.select_related("version").filter(model=row, name=alias).first()
        if existing is not None and existing.version_id == version.pk:
            return existing
        _refuse_protected(row, alias, number)
        _refuse_unusable(version, alias)
        _point(actor, row, alias, version, existing, reason=reason)
    return Alias.objects.select_related("version").get(model=row, name=alias)


def follow_live(
    *, actor: Actor, model: str, alias: str, number: int | None, reason: str = ""
) -> Alias | None:
    """Let a protected alias name the version that is live now. Releases call this.

    Asked twice, it changes nothing the second time. An archived version may be named: it is
    what callers are served.

    Args:
        actor: The worker that saw the release live, or live no more.
        model: The model's name.
        alias: An environment's alias.
        number: The version that is live; None when none is, which removes the alias.
        reason: Which release did it.

    Raises:
        Denied: The actor is no worker; the code is `registry.alias_protected`.
        Missing: There is no such model or version.
    """
    with transaction.atomic():
        row = selectors.model_for_update(actor, model)
        if actor.kind is not ActorKind.WORKER:
            raise protected(model, alias, number)
        existing = Alias.objects.select_related("version").filter(model=row, name=alias).first()
        if number is None:
            if existing is not None:
                _take_away(actor, row, existing, reason=reason)
            return None
        version = selectors.version_of(row, number)
        if existing is not None and existing.version_id == version.pk:
            return existing
        _point(actor, row, alias, version, existing, reason=reason)
    return Alias.objects.select_related("version").get(model=row, name=alias)


def remove_alias(*, actor: Actor, model: str, alias: str, reason: str = "") -> None:
    """Remove `alias`; the version that it named stays.

    Raises:
        Missing: There is no such model or alias.
        Denied: The actor may not; or an environment claims the alias, and the code is
            `registry.alias_protected`.
    """
    with transaction.atomic():
        row = selectors.model_for_update(actor, model)
        access.require(actor, "registry.alias.move", team=row.team.slug)
        existing = Alias.objects.select_related("version").filter(model=row, name=alias).first()
        if existing is None:
            raise Missing(
                f"{model} has no alias {alias!r}.", field="alias", code="registry.no_such_alias"
            )
        _refuse_protected(row, alias, existing.version.number)
        _take_away(actor, row, existing, reason=reason)


def put_back(
    actor: Actor,
    model: RegisteredModel,
    drift: Drift,
    existing: Alias | None,
    target: ModelVersion | None,
    *,
    reason: str,
) -> int:
    """Have the mirror show MLflow an alias as it is here; return the ledger's entry.

    Args:
        actor: The worker that noticed.
        model: Locked.
        drift: What it noticed.
        existing: Our row, when there is one; MLflow is set to what it says.
        target: The version that MLflow names; its pass removes an alias that we do not have.
        reason: What happened.
    """
    if existing is not None:
        Alias.objects.filter(pk=existing.pk).update(shown_number=drift.there)
        _mirror(existing.version)
    elif target is not None:
        _mirror(target)
    return _record(
        actor,
        "registry.alias.put_back",
        model,
        drift.alias,
        before={"version": drift.there} if drift.there is not None else {},
        after={"version": drift.was} if drift.was is not None else {},
        reason=reason,
    )


def adopt_alias(
    actor: Actor,
    model: RegisteredModel,
    alias: str,
    version: ModelVersion | None,
    existing: Alias | None,
    *,
    reason: str,
) -> int:
    """Make an alias here what it is in MLflow; return the ledger's entry.

    Args:
        actor: The worker that noticed.
        model: Locked.
        alias: The alias.
        version: What MLflow says; None when it was removed there.
        existing: Our row, when there is one.
        reason: What happened.
    """
    if version is not None:
        event = _point(actor, model, alias, version, existing, reason=reason)
        Alias.objects.filter(model=model, name=alias).update(shown_number=version.number)
        return event
    if existing is None:
        raise AssertionError(alias)
    return _take_away(actor, model, existing, reason=reason)


def protected(model: str, alias: str, number: int | None) -> Denied:
    """Return the refusal to touch an alias that follows what is live, with the way to move it."""
    environment = environments.protected_aliases().get(alias.lower(), "production")
    version = {"version": number} if number else {}
    where = urlencode({"model": model, **version, "environment": environment})
    return Denied(
        f"The alias {alias} follows what is live in {environment}; only a release moves it.",
        remedy=f"Propose a release: {settings.PUBLIC_URL}/releases/new?{where}",
        field="alias",
        code="registry.alias_protected",
    )


def _refuse_protected(model: RegisteredModel, alias: str, number: int) -> None:
    if alias.lower() in environments.protected_aliases():
        raise protected(model.name, alias, number)


def _point(
    actor: Actor,
    model: RegisteredModel,
    alias: str,
    version: ModelVersion,
    existing: Alias | None,
    *,
    reason: str,
) -> int:
    """Point the alias at `version`, have the mirror tell MLflow, and record it."""
    previous = existing.version if existing is not None else None
    moved = existing or Alias(model=model, name=alias)
    moved.version = version
    moved.save()
    for touched in filter(None, (previous, version)):
        _mirror(touched)
    return _record(
        actor,
        "registry.alias.move",
        model,
        alias,
        before={"version": previous.number} if previous else {},
        after={"version": version.number},
        reason=reason,
    )


def _take_away(actor: Actor, model: RegisteredModel, existing: Alias, *, reason: str) -> int:
    version = existing.version
    existing.delete()
    _mirror(version)
    return _record(
        actor,
        "registry.alias.remove",
        model,
        existing.name,
        before={"version": version.number},
        after={},
        reason=reason,
    )


def _refuse_unusable(version: ModelVersion, alias: str) -> None:
    if version.state in (VersionState.ARCHIVED, VersionState.REJECTED):
        raise Conflict(
            f"Version {version.number} is {version.state}, so {alias} cannot name it.",
            remedy="Choose another version"
            + (", or restore it first." if version.state == VersionState.ARCHIVED else "."),
            code="registry.version_not_usable",
        )


def _mirror(version: ModelVersion) -> None:
    versions.remirror(version)
    version.save(update_fields=versions.REMIRRORED)
    announce(f"version/{version.public_id}")


def _record(
    actor: Actor,
    verb: str,
    model: RegisteredModel,
    alias: str,
    *,
    before: dict[str, object],
    after: dict[str, object],
    reason: str,
) -> int:
    """Record it, and return the entry's number."""
    event = audit.record(
        actor=actor,
        verb=verb,
        target=f"model/{model.public_id}",
        subject=f"{model.name}@{alias}",
        before=before,
        after=after,
        reason=reason,
    )
    announce(f"model/{model.public_id}")
    return event.pk
