"""Verbs on aliases."""

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.registry import selectors
from apps.registry.domain import names
from apps.registry.domain.states import VersionState
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.services import versions
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, Missing


def move_alias(*, actor: Actor, model: str, alias: str, number: int, reason: str = "") -> Alias:
    """Let `alias` name version `number`, creating the alias when the model has none so called.

    Moving it to where it is changes nothing and records nothing.

    Raises:
        Missing: There is no such model or version.
        Invalid: The alias's name is not allowed.
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
        _refuse_unusable(version, alias)
        previous = existing.version if existing is not None else None
        moved = existing or Alias(model=row, name=alias)
        moved.version = version
        moved.save()
        for touched in filter(None, (previous, version)):
            _mirror(touched)
        _record(
            actor,
            "registry.alias.move",
            row,
            alias,
            before={"version": previous.number} if previous else {},
            after={"version": number},
            reason=reason,
        )
    return moved


def remove_alias(*, actor: Actor, model: str, alias: str, reason: str = "") -> None:
    """Remove `alias`; the version that it named stays.

    Raises:
        Missing: There is no such model or alias.
    """
    with transaction.atomic():
        row = selectors.model_for_update(actor, model)
        access.require(actor, "registry.alias.move", team=row.team.slug)
        existing = Alias.objects.select_related("version").filter(model=row, name=alias).first()
        if existing is None:
            raise Missing(
                f"{model} has no alias {alias!r}.", field="alias", code="registry.no_such_alias"
            )
        version = existing.version
        existing.delete()
        _mirror(version)
        _record(
            actor,
            "registry.alias.remove",
            row,
            alias,
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
) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        target=f"model/{model.public_id}",
        subject=f"{model.name}@{alias}",
        before=before,
        after=after,
        reason=reason,
    )
    announce(f"model/{model.public_id}")
