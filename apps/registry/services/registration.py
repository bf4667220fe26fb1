"""Registering a version: of uploads, of files that are here, of what an MLflow run logged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db import transaction

from apps.accounts.domain import access
from apps.registry import numbering, selectors
from apps.registry.domain import names
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Door, MirrorState
from apps.registry.models import ModelVersion, RegisteredModel
from apps.registry.services import staging
from apps.registry.services.drafts import Draft, insert_all
from controlplane.kernel.actor import Actor
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Conflict, Invalid


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
