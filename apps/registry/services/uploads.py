"""Verbs on uploads: begin, receive, finish, abandon.

The bytes lie in `UPLOAD_ROOT/<public id>.part` and only ever grow; the row's `received` never
says more than is there. Finishing moves them into the blob store and reads what they are.
"""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.registry import blobs, inspection, selectors
from apps.registry.blobs import StorageFull
from apps.registry.domain import names
from apps.registry.models import Upload, UploadState
from apps.registry.services import staging
from controlplane.kernel.actor import Actor, worker
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.digests import CHUNK
from controlplane.kernel.errors import Conflict, Invalid

LIFETIME = timedelta(hours=24)  # since the last bytes came
KEPT = timedelta(days=7)  # how long a finished upload can still be named
HEADROOM = 64 * 1024**2  # bytes left free for everything else on the disk


def begin_upload(*, actor: Actor, filename: str, size: int) -> Upload:
    """Announce a file of `size` bytes.

    Raises:
        Invalid: It is empty, larger than allowed, or has no usable name.
        StorageFull: It cannot fit on the disk.
    """
    access.require(actor, "registry.upload")
    name = names.file_name(filename)
    if size < 1:
        raise Invalid(f"{name} is empty.", field="size", code="upload.empty")
    if size > settings.UPLOAD_LIMIT:
        raise Invalid(
            f"{name} has {size} bytes; at most {settings.UPLOAD_LIMIT} are accepted.",
            remedy="An admin can raise MODELYARD_UPLOAD_LIMIT.",
            field="size",
            code="upload.too_large",
        )
    _refuse_without_room(size)
    with transaction.atomic():
        upload = Upload.objects.create(
            owner_id=actor.person_id,
            filename=name[:255],
            size=size,
            expires_at=SystemClock().now() + LIFETIME,
        )
        _record(actor, "registry.upload", upload, after={"filename": name, "size": size})
    return upload


def part_path(upload: Upload) -> Path:
    """Return where the bytes of an upload lie while they arrive."""
    return Path(settings.UPLOAD_ROOT) / f"{upload.public_id}.part"


def note_received(*, upload_id: int, received: int) -> None:
    """Note how many bytes are on the disk, so that the sender may go on from there."""
    Upload.objects.filter(pk=upload_id, state=UploadState.OPEN).update(
        received=received, expires_at=SystemClock().now() + LIFETIME
    )


def finish_upload(*, actor: Actor, public_id: str, sha256: str = "") -> Upload:
    """Take the bytes of a whole upload into the blob store, and read what they are.

    Args:
        actor: Who uploads.
        public_id: Which upload; all its bytes are on the disk.
        sha256: The digest, when the caller computed it from these bytes as they came.

    Raises:
        Conflict: Bytes are missing.
        StorageFull: There is no room; the upload is kept, and finishing may be tried again.
    """
    upload = selectors.upload(actor, public_id)
    access.require(actor, "registry.upload")
    if upload.state != UploadState.OPEN:
        return upload
    path = part_path(upload)
    if not path.exists() or path.stat().st_size != upload.size:
        raise Conflict(
            f"{upload.received} of {upload.size} bytes are here.",
            remedy="Send the rest first.",
            code="upload.not_complete",
        )
    facts, digest = _take_in(path, upload.filename, sha256)
    with transaction.atomic():
        Upload.objects.filter(pk=upload.pk).update(
            state=UploadState.COMPLETE,
            received=upload.size,
            sha256=digest,
            facts=facts,
            problem=facts.get("problem", {}).get("sentence", "")[:500],
            expires_at=SystemClock().now() + KEPT,
        )
        _record(
            actor, "registry.upload.finish", upload, after={"files": len(facts.get("files", []))}
        )
    path.unlink(missing_ok=True)
    upload.refresh_from_db()
    return upload


def keep_uploaded_file(*, actor: Actor, file: "UploadedFile[Any]") -> Upload:
    """Take in a file that came with an ordinary form, which Django has spooled to the disk.

    Raises:
        Invalid: It is empty or too large.
        StorageFull: There is no room.
    """
    upload = begin_upload(actor=actor, filename=file.name or "model", size=file.size or 0)
    path = part_path(upload)
    path.parent.mkdir(parents=True, exist_ok=True)
    with blobs.full_disk_said_clearly(), path.open("wb") as out:
        for chunk in file.chunks(CHUNK):
            out.write(chunk)
    note_received(upload_id=upload.pk, received=path.stat().st_size)
    return finish_upload(actor=actor, public_id=upload.public_id)


def abandon_upload(*, actor: Actor, public_id: str) -> None:
    """Drop an upload and its bytes; what was registered from it stays."""
    access.require(actor, "registry.upload")
    with transaction.atomic():
        upload = selectors.upload(actor, public_id)
        if upload.state != UploadState.REGISTERED:
            Upload.objects.filter(pk=upload.pk).update(state=UploadState.ABANDONED)
            _record(actor, "registry.upload.abandon", upload, after={})
    part_path(upload).unlink(missing_ok=True)


def drop_expired(*, now: datetime) -> int:
    """Drop uploads that nobody continued, with their bytes; return how many."""
    expired = list(Upload.objects.filter(expires_at__lt=now).order_by("id")[:500])
    for upload in expired:
        part_path(upload).unlink(missing_ok=True)
        with transaction.atomic():
            _record(worker("tidy"), "registry.upload.expire", upload, after={})
            upload.delete()
    return len(expired)


def _take_in(path: Path, filename: str, sha256: str) -> tuple[dict[str, Any], str]:
    try:
        contents = inspection.keep(path, filename=filename, sha256=sha256)
    except Invalid as error:  # an unsafe or broken archive: nothing of it can be used
        return {"problem": staging.problem_of(error)}, sha256
    alone = contents.files[0].sha256 if not contents.unpacked else sha256
    return staging.facts_of(contents), alone


def _refuse_without_room(size: int) -> None:
    root = Path(settings.UPLOAD_ROOT)
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if size + HEADROOM > free:
        raise StorageFull(
            f"The disk that holds models has {free // 1024**2} MB left, too little for this file.",
            remedy="Free some space or enlarge the disk, then send it again.",
        )


def _record(actor: Actor, verb: str, upload: Upload, *, after: dict[str, object]) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        target=f"upload/{upload.public_id}",
        subject=upload.filename,
        after=after,
    )
