"""The blob store: bytes by their sha256, in a folder or in S3.

A blob is there completely or not at all: it is written under another name, its digest is
checked, and then it is renamed (S3 makes an object appear as a whole by itself). Equal
bytes are kept once. Nothing is ever changed in place.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages

from apps.registry.models import Upload, UploadState, VersionFile
from controlplane.kernel.digests import CHUNK, FileEntry
from controlplane.kernel.errors import Permanent, Transient

OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageFull(Transient):
    """There is no room for the bytes; whatever was begun has been cleaned up."""

    code = "storage.full"


class BlobFolder(FileSystemStorage):
    """A folder in which a file appears under its name only when it is whole."""

    def _save(self, name: str, content: "File[bytes]") -> str:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            with arriving.open("xb") as out:
                for chunk in content.chunks(CHUNK):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            arriving.replace(target)
        finally:
            arriving.unlink(missing_ok=True)
        return name

    def link(self, name: str, path: Path) -> None:
        """Take the file at `path` in without copying it, where the file system can.

        Both names then share their bytes, so nobody may write to `path` afterwards.
        """
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            os.link(path, arriving)
        except OSError:
            shutil.copyfile(path, arriving)
        try:
            arriving.replace(target)
        finally:
            arriving.unlink(missing_ok=True)


def put(path: Path, *, sha256: str = "") -> FileEntry:
    """Take the file at `path` in, and return its entry (with the file's own name as path).

    Args:
        path: A file that nobody writes to any more.
        sha256: Its digest, when it is known already and was computed from these bytes.

    Raises:
        StorageFull: There is no room; nothing is kept.
    """
    with full_disk_said_clearly():
        digest = sha256 or _sha256(path)
        size = path.stat().st_size
        store, name = _store(), _name(digest)
        if store.exists(name):
            _keep_fresh(store, name)
        elif isinstance(store, BlobFolder):
            store.link(name, path)
        else:
            with path.open("rb") as stream:
                store.save(name, File(stream))
    return FileEntry(path.name, digest, size)


def put_stream(stream: BinaryIO, *, path: str, limit: int | None = None) -> FileEntry:
    """Take in what `stream` holds, and return its entry under `path`.

    Args:
        stream: The bytes, read once, a chunk at a time.
        path: What the file is called in the version.
        limit: The most bytes to take; `ValueError` when there are more.

    Raises:
        StorageFull: There is no room; nothing is kept.
    """
    with full_disk_said_clearly(), _scratch_file() as (out, scratch):
        seen, size = hashlib.sha256(), 0
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            if limit is not None and size > limit:
                raise ValueError(f"more than {limit} bytes")
            seen.update(chunk)
            out.write(chunk)
        out.flush()
        entry = put(scratch, sha256=seen.hexdigest())
    return FileEntry(path, entry.sha256, size)


def put_folder(folder: Path) -> list[FileEntry]:
    """Take every file below `folder` in, and return the manifest.

    Links are not followed: a link is an error, since it could lead anywhere.

    Raises:
        Permanent: The folder holds something that is neither file nor folder.
        StorageFull: There is no room.
    """
    entries = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Permanent(
                f"{path.relative_to(folder)} is a link or a device, not a file.",
                remedy="Log the model with plain files only.",
                code="archive.link",
            )
        if path.is_file():
            kept = put(path)
            entries.append(FileEntry(path.relative_to(folder).as_posix(), kept.sha256, kept.size))
    return entries


def exists(sha256: str) -> bool:
    """Return whether the store holds the blob."""
    return _store().exists(_name(sha256))


def open_blob(sha256: str) -> BinaryIO:
    """Open the blob for reading; the caller closes it.

    Raises:
        Permanent: It is not there; the code is `storage.missing`.
    """
    try:
        return cast(BinaryIO, _store().open(_name(sha256), "rb"))
    except FileNotFoundError as error:
        raise Permanent(
            f"The blob sha256:{sha256[:12]} is not in the store.",
            remedy="Restore the blob store from its backup, or register the files again.",
            code="storage.missing",
        ) from error


def local_path(sha256: str) -> Path | None:
    """Return where the blob lies on this machine, or None when it is elsewhere (S3)."""
    store = _store()
    if not isinstance(store, FileSystemStorage) or not store.exists(_name(sha256)):
        return None
    return Path(store.path(_name(sha256)))


def write_to(sha256: str, target: Path) -> None:
    """Write the blob to `target`, checking that its bytes are those of its name.

    Raises:
        Permanent: It is missing or damaged.
        StorageFull: There is no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    seen = hashlib.sha256()
    with full_disk_said_clearly(), open_blob(sha256) as stream, target.open("wb") as out:
        while chunk := stream.read(CHUNK):
            seen.update(chunk)
            out.write(chunk)
    if seen.hexdigest() != sha256:
        target.unlink(missing_ok=True)
        raise Permanent(
            f"The blob sha256:{sha256[:12]} is damaged: its bytes have another digest.",
            remedy="Restore the blob store from its backup, or register the files again.",
            code="storage.damaged",
        )


def materialise(files: list[FileEntry], target: Path) -> None:
    """Write the files of a version below `target`, each checked against its digest."""
    for file in files:
        write_to(file.sha256, target / file.path)


def drop_unused(
    *, now: datetime, named: Collection[str] = (), after: timedelta = timedelta(hours=24)
) -> int:
    """Delete blobs that nothing names and that have lain so for `after`; return how many.

    Versions and finished uploads name blobs. A registration puts its blobs before its rows, so
    young blobs are left alone.

    Args:
        now: The time.
        named: The sha256 of blobs that others name: apps above this one keep files here too.
        after: How old a blob must be.
    """
    store = _store()
    names = [name for name in _every_name(store) if store.get_modified_time(name) < now - after]
    used = set(
        VersionFile.objects.filter(sha256__in=[_digest(n) for n in names])
        .values_list("sha256", flat=True)
        .distinct()
    )
    uploads = Upload.objects.filter(state=UploadState.COMPLETE).values_list("facts", flat=True)
    used |= {entry["sha256"] for facts in uploads for entry in facts.get("files", [])}
    used |= set(named)
    unused = [name for name in names if _digest(name) not in used]
    for name in unused:
        store.delete(name)
    return len(unused)


@contextmanager
def full_disk_said_clearly() -> Iterator[None]:
    """Turn "no space left on device" into `StorageFull`."""
    try:
        yield
    except OSError as error:
        if error.errno not in OUT_OF_SPACE:
            raise
        raise StorageFull(
            "The disk that holds models is full, so nothing was registered.",
            remedy="Free some space or enlarge the disk, then send the same request again.",
        ) from error


def _store() -> Storage:
    return storages["blobs"]


def _name(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"


def _digest(name: str) -> str:
    return name.rsplit("/", 1)[-1].lstrip(".").split(".")[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _keep_fresh(store: Storage, name: str) -> None:
    if isinstance(store, FileSystemStorage):
        os.utime(store.path(name))


def _every_name(store: Storage) -> Iterator[str]:
    try:
        prefixes, _ = store.listdir("sha256")
    except FileNotFoundError:
        return
    for prefix in prefixes:
        for name in store.listdir(f"sha256/{prefix}")[1]:
            yield f"sha256/{prefix}/{name}"


@contextmanager
def _scratch_file() -> Iterator[tuple[BinaryIO, Path]]:
    folder = Path(settings.UPLOAD_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".scratch-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as out:
            yield cast(BinaryIO, out), Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
