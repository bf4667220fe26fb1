"""Verbs on one version: edit, archive, restore, and what a build found out about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.registry import selectors
from apps.registry.domain import details as described
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Tensor
from apps.registry.domain.kinds import MirrorState
from apps.registry.domain.states import VERSION, VersionMove
from apps.registry.models import ModelVersion
from controlplane.db.live import announce_all
from controlplane.db.nudge import nudge
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

EDITABLE = ("semver", "description", "metrics", "params", "tags", "dataset", "dataset_digest",
            "trained_at", "git_commit")  # fmt: skip


def edit_version(
    *, actor: Actor, model: str, number: int, changes: Mapping[str, Any]
) -> ModelVersion:
    """Change what people wrote about a version; its bytes never change.

    Raises:
        Missing: There is no such version.
        Invalid: A field is unknown or its value is not allowed.
    """
    unknown = sorted(set(changes) - set(EDITABLE))
    if unknown:
        raise Invalid(
            f"{unknown[0]} cannot be edited: a version is immutable.",
            remedy=f"These can be: {', '.join(EDITABLE)}.",
            field=unknown[0],
            code="registry.unknown_field",
        )
    clean = _clean(changes)
    with transaction.atomic():
        version = selectors.version_for_update(actor, model, number)
        access.require(actor, "registry.version.edit", team=version.model.team.slug)
        before = {field: getattr(version, field) for field in clean}
        changed = {f: value for f, value in clean.items() if value != before[f]}
        if changed:
            for field, value in changed.items():
                setattr(version, field, value)
            _save_and_mirror(version, list(changed))
            _record(
                actor,
                "registry.version.edit",
                version,
                before={f: _plain(before[f]) for f in changed},
                after={f: _plain(value) for f, value in changed.items()},
            )
    return version


def archive_version(*, actor: Actor, model: str, number: int, reason: str = "") -> ModelVersion:
    """Take a version out of use.

    Raises:
        Missing: There is no such version.
        Conflict: It is archived already, or an alias names it.
    """
    with transaction.atomic():
        version = selectors.version_for_update(actor, model, number)
        access.require(actor, "registry.version.archive", team=version.model.team.slug)
        aliases = list(version.aliases.order_by("name").values_list("name", flat=True))
        if aliases:
            raise Conflict(
                f"Version {number} is named by the alias {', '.join(aliases)}.",
                remedy="Move or remove the alias first.",
                code="registry.version_has_alias",
            )
        _move(actor, version, VersionMove.ARCHIVE, "registry.version.archive", reason)
    return version


def restore_version(*, actor: Actor, model: str, number: int, reason: str = "") -> ModelVersion:
    """Bring an archived version back, as registered.

    Raises:
        Missing: There is no such version.
        Conflict: It is not archived.
    """
    with transaction.atomic():
        version = selectors.version_for_update(actor, model, number)
        access.require(actor, "registry.version.archive", team=version.model.team.slug)
        _move(actor, version, VersionMove.RESTORE, "registry.version.restore", reason)
    return version


def validate(*, actor: Actor, version_id: int, reason: str = "") -> ModelVersion:
    """Record that a build proved the version; called by builds.

    Raises:
        Conflict: The version is archived.
    """
    return _judge(actor, version_id, VersionMove.VALIDATE, "registry.version.validate", reason)


def reject(*, actor: Actor, version_id: int, reason: str) -> ModelVersion:
    """Record that a build found the version unsafe or broken; called by builds.

    Raises:
        Conflict: The version is archived.
    """
    return _judge(actor, version_id, VersionMove.REJECT, "registry.version.reject", reason)


def learn(
    *,
    actor: Actor,
    version_id: int,
    inputs: Sequence[Tensor] = (),
    outputs: Sequence[Tensor] = (),
    framework: str = "",
    facts: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """Fill in what the files alone could not say, and a build found out by loading them.

    Only what is empty is filled: what the files or a person said stands.
    """
    found = {"inputs": list(inputs), "outputs": list(outputs), "framework": framework[:80]}
    with transaction.atomic():
        version = lock(version_id)
        access.require(actor, "registry.version.edit", team=version.model.team.slug)
        changed: dict[str, Any] = {
            field: value for field, value in found.items() if value and not getattr(version, field)
        }
        fresh = {k: v for k, v in (facts or {}).items() if k not in version.facts}
        if fresh:
            changed["facts"] = {**version.facts, **fresh}
        if changed:
            for field, value in changed.items():
                setattr(version, field, value)
            _save_and_mirror(version, list(changed))
            _record(
                actor,
                "registry.version.learn",
                version,
                before={},
                after={f: value if f != "facts" else fresh for f, value in changed.items()},
            )
    return version


def remirror(version: ModelVersion) -> None:
    """Ask the mirror to look at `version` again, now: something MLflow shows has changed."""
    if version.mirror_state != MirrorState.ADOPTING:
        version.mirror_state, version.mirror_problem = MirrorState.PENDING, ""
    version.next_reconcile_at = SystemClock().now()
    nudge("version", version.pk)


REMIRRORED = ["mirror_state", "mirror_problem", "next_reconcile_at", "changed_at"]


def _judge(
    actor: Actor, version_id: int, move: VersionMove, verb: str, reason: str
) -> ModelVersion:
    with transaction.atomic():
        version = lock(version_id)
        access.require(actor, "registry.version.edit", team=version.model.team.slug)
        if VERSION.after(_state(version), move) != version.state:
            _move(actor, version, move, verb, reason)
    return version


def _move(actor: Actor, version: ModelVersion, move: VersionMove, verb: str, reason: str) -> None:
    before = version.state
    version.state = VERSION.after(_state(version), move)
    _save_and_mirror(version, ["state"])
    _record(
        actor,
        verb,
        version,
        before={"state": str(before)},
        after={"state": str(version.state)},
        reason=reason,
    )


def _state(version: ModelVersion) -> Any:
    return type(VERSION.initial)(version.state)


def _save_and_mirror(version: ModelVersion, fields: list[str]) -> None:
    remirror(version)
    version.save(update_fields=[*fields, *REMIRRORED])


def lock(version_id: int) -> ModelVersion:
    """Return the version, locked until the transaction ends, with its model and team."""
    return (
        ModelVersion.objects.select_for_update(no_key=True, of=("self",))
        .select_related("model__team")
        .get(pk=version_id)
    )


def _record(
    actor: Actor,
    verb: str,
    version: ModelVersion,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str = "",
) -> None:
    target = f"version/{version.public_id}"
    audit.record(
        actor=actor,
        verb=verb,
        target=target,
        subject=f"{version.model.name} v{version.number}",
        before=before,
        after=after,
        reason=reason,
    )
    announce_all([target, f"model/{version.model.public_id}"])


def _clean(changes: Mapping[str, Any]) -> dict[str, Any]:
    clean = dict(changes)
    if "metrics" in clean:
        clean["metrics"] = described.metrics(clean["metrics"])
    for words in ("params", "tags"):
        if words in clean:
            clean[words] = described.words(clean[words], words)
    Details(**clean)  # bounds
    return clean


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
