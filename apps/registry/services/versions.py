"""Verbs on model versions: register, edit, archive, and what a build reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.registry import numbering, selectors
from apps.registry.domain import details as described
from apps.registry.domain import names
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected, Tensor
from apps.registry.domain.kinds import Door, MirrorState
from apps.registry.domain.states import VERSION, VersionMove
from apps.registry.models import ModelVersion, RegisteredModel, VersionFile
from apps.registry.services import staging
from controlplane.db.live import announce_all
from controlplane.db.nudge import nudge
from controlplane.kernel import digests
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Conflict, Invalid

EDITABLE = ("semver", "description", "metrics", "params", "tags", "dataset", "dataset_digest",
            "trained_at", "git_commit")  # fmt: skip


@dataclass(frozen=True)
class UploadedPath:
    """One completed upload, and where in the version it belongs.

    Attributes:
        upload: The upload's public id.
        path: The file's path in the version; "" for the name it was uploaded under.
    """

    upload: str
    path: str = ""


@dataclass(frozen=True)
class Registered:
    """The answer to a registration.

    Attributes:
        version: The version that holds the bytes.
        created: False when these bytes were registered before.
    """

    version: ModelVersion
    created: bool


@dataclass(frozen=True)
class Draft:
    """A version before it has a number.

    Attributes:
        actor: Who registers it; the ledger names it.
        door: The way it came in.
        details: What was said about it.
        mirror_state: What MLflow still has to learn, or to give.
        columns: What was read from its files, by column, and who is to be named for it.
        files: Its manifest; their bytes are in the blob store. Empty while they are unread.
        request_id: Of the request that asked, where that is not the one being answered.
    """

    actor: Actor
    door: Door
    details: Details
    mirror_state: MirrorState
    columns: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    request_id: str = ""

    @classmethod
    def of_files(
        cls, actor: Actor, files: Sequence[FileEntry], inspected: Inspected, details: Details,
        door: Door, *, request_id: str = "",
    ) -> "Draft":  # fmt: skip
        """Return a version to be of files whose bytes are here."""
        return cls(
            actor=actor,
            door=door,
            details=replace(details, run_id=details.run_id or inspected.run_id),
            mirror_state=MirrorState.PENDING,
            columns={
                **columns_of(inspected),
                "manifest_digest": digests.of_manifest(files),
                "size": sum(file.size for file in files),
            },
            files=tuple(files),
            request_id=request_id,
        )

    @property
    def digest(self) -> str:
        """Return the digest of its manifest; "" while its files are unread."""
        return str(self.columns.get("manifest_digest", ""))

    def version(self, model: RegisteredModel, number: int, now: datetime) -> ModelVersion:
        """Return the row, unsaved."""
        return ModelVersion(
            model=model,
            number=number,
            door=self.door,
            mirror_state=self.mirror_state,
            next_reconcile_at=now,
            **{name: getattr(self.details, name) for name in self.details.__dataclass_fields__},
            **{"registered_by": self.actor.name, **self.columns},
        )

    def record(self, version: ModelVersion) -> None:
        """Write the ledger entry of `version`."""
        names = ("number", "door", "format", "size", "source")
        named = {"request_id": self.request_id} if self.request_id else {}
        with structlog.contextvars.bound_contextvars(**named):
            audit.record(
                actor=self.actor,
                verb="registry.version.register",
                target=f"version/{version.public_id}",
                subject=f"{version.model.name} v{version.number}",
                after={
                    **{name: getattr(version, name) for name in names},
                    "digest": version.manifest_digest,
                },
            )


def register_version(
    *,
    actor: Actor,
    model: str,
    uploads: Sequence[UploadedPath],
    details: Details,
    door: Door = Door.REST,
) -> Registered:
    """Register completed uploads as the next version of `model`.

    1. Find the model and the uploads, and check that the actor may.
    2. Unpack an archive, read what the files are, and refuse what is none of the formats.
    3. Put the bytes into the blob store, outside any transaction.
    4. Under the model's lock: the same bytes again give the existing version; otherwise the
       next number, the row, its files and the ledger entry.

    Raises:
        Missing: There is no such model or upload.
        Invalid: The files are not a model, or the archive is unsafe.
        Conflict: The model is archived, or an upload is not complete.
        Transient: The disk is full; nothing is registered, and the uploads are kept.
    """
    row = selectors.model(actor, model)
    access.require(actor, "registry.version.register", team=row.team.slug)
    _refuse_archived(row)
    rows = [(selectors.upload(actor, given.upload), given.path) for given in _some(uploads)]
    staged = staging.stage(rows)
    with transaction.atomic():
        registered = _register(actor, model, staged.files, staged.inspected, details, door)
        if registered.created:
            staging.settle([upload for upload, _ in rows])
    return registered


def register_files(
    *,
    actor: Actor,
    model: str,
    files: Sequence[FileEntry],
    inspected: Inspected,
    details: Details,
    door: Door = Door.REST,
) -> Registered:
    """Register files whose bytes are in the blob store as the next version of `model`.

    Asking twice is safe, also at the same time: the model's lock puts one request first, and
    the other finds its version by the manifest's digest.

    Raises:
        Missing: There is no such model.
        Conflict: The model is archived.
    """
    with transaction.atomic():
        return _register(actor, model, files, inspected, details, door)


def register_run(
    *,
    actor: Actor,
    model: str,
    run_id: str,
    artifact_path: str,
    details: Details,
    door: Door = Door.REST,
) -> Registered:
    """Register the model that an MLflow run logged, as the next version of `model`.

    The number is given now; the bytes follow: a worker fetches them (`mirror_state` is
    "adopting", `source` is "runs:/RUN/PATH") and calls `complete_adoption`.

    Raises:
        Missing: There is no such model.
        Invalid: The run id or the artifact path cannot be one.
    """
    if not run_id.isalnum() or len(run_id) > 64:
        raise Invalid(
            f"{run_id[:80]!r} is not the id of an MLflow run.",
            remedy="Copy the run's id from MLflow: 32 hexadecimal digits.",
            field="run_id",
            code="registry.bad_run_id",
        )
    source = f"runs:/{run_id}/{names.file_path(artifact_path or 'model')}"
    with transaction.atomic():
        numbering.hold(model)  # before the row's lock, as MLflow's door does
        row = selectors.model_for_update(actor, model)
        access.require(actor, "registry.version.register", team=row.team.slug)
        _refuse_archived(row)
        existing = selectors.version_with_source(row.pk, source)
        if existing is not None:
            existing.model = row
            return Registered(existing, created=False)
        draft = Draft(
            actor=actor,
            door=door,
            details=replace(details, run_id=run_id, source=source),
            mirror_state=MirrorState.ADOPTING,
        )
        (version,) = insert_all(row, [draft], first_number=row.next_number)
    return Registered(version, created=True)


def insert_adopted(
    *, actor: Actor, model: RegisteredModel, number: int, registered_by: str, details: Details
) -> ModelVersion:
    """Insert a version that MLflow has numbered, its bytes still unread.

    The caller holds the model's lock.
    """
    draft = Draft(
        actor=actor,
        door=Door.MLFLOW,
        details=details,
        mirror_state=MirrorState.ADOPTING,
        columns={"registered_by": registered_by or actor.name},
    )
    (version,) = insert_all(model, [draft], first_number=number)
    return version


def insert_all(
    model: RegisteredModel, drafts: Sequence[Draft], *, first_number: int
) -> list[ModelVersion]:
    """Insert versions of one model under consecutive numbers, each with its ledger entry.

    The caller holds the model's lock, and has found out that nothing stands against them.
    """
    now = SystemClock().now()
    numbered = list(enumerate(drafts, start=first_number))
    versions = ModelVersion.objects.bulk_create(
        draft.version(model, number, now) for number, draft in numbered
    )
    insert_files(
        [(v, file) for v, draft in zip(versions, drafts, strict=True) for file in draft.files]
    )
    last = first_number + len(versions) - 1
    RegisteredModel.objects.filter(pk=model.pk).update(
        next_number=max(model.next_number, last + 1),
        latest_number=max(model.latest_number or 0, last),
        version_count=F("version_count") + len(versions),
        changed_at=now,
    )
    for version, draft in zip(versions, drafts, strict=True):
        draft.record(version)
    announce_all(
        ["home", f"model/{model.public_id}", *(f"version/{v.public_id}" for v in versions)]
    )
    # One message is enough: a sweep, at most a second later, finds the others.
    nudge("version", versions[0].pk)
    return versions


def insert_files(files: Sequence[tuple[ModelVersion, FileEntry]]) -> None:
    """Insert the files of manifests, each beside its version."""
    VersionFile.objects.bulk_create(
        VersionFile(version=version, path=f.path, sha256=f.sha256, size=f.size)
        for version, f in files
    )


def columns_of(inspected: Inspected) -> dict[str, Any]:
    """Return what was read from the files, by column."""
    return {
        "format": str(inspected.format),
        "framework": inspected.framework[:80],
        "inputs": inspected.inputs,
        "outputs": inspected.outputs,
        "facts": inspected.facts,
    }


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


def _register(
    actor: Actor,
    model: str,
    files: Sequence[FileEntry],
    inspected: Inspected,
    details: Details,
    door: Door,
) -> Registered:
    draft = Draft.of_files(actor, files, inspected, details, door)
    numbering.hold(model)  # before the row's lock, as MLflow's door does
    row = selectors.model_for_update(actor, model)
    access.require(actor, "registry.version.register", team=row.team.slug)
    _refuse_archived(row)
    existing = selectors.version_with_digest(row.pk, draft.digest)
    if existing is not None:
        existing.model = row
        return Registered(existing, created=False)
    (version,) = insert_all(row, [draft], first_number=row.next_number)
    return Registered(version, created=True)


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


def _refuse_archived(model: RegisteredModel) -> None:
    if model.archived_at is not None:
        raise Conflict(
            f"The model {model.name} is archived.",
            remedy="Restore it first.",
            code="registry.model_archived",
        )


def _some(uploads: Sequence[UploadedPath]) -> Sequence[UploadedPath]:
    if uploads:
        return uploads
    raise Invalid(
        "No upload is named.",
        remedy="Send upload, uploads, or run_id with artifact_path.",
        field="upload",
        code="registry.nothing_to_register",
    )
