"""Reading a version's files where they lie: an upload, a folder, the blob store.

The parsing is `domain.inspect`'s; what is here opens files, decompresses within limits and
puts the contents of archives into the blob store. Nothing is ever loaded or executed.
"""

import bz2
import gzip
import io
import lzma
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from django.conf import settings

from apps.registry import blobs
from apps.registry.domain import names
from apps.registry.domain.inspect import archives, detect
from apps.registry.domain.inspect.archives import Member
from apps.registry.domain.inspected import Inspected
from controlplane.kernel.digests import CHUNK, FileEntry
from controlplane.kernel.errors import Invalid


@dataclass(frozen=True)
class Contents:
    """What one uploaded file turned out to hold.

    Attributes:
        files: The manifest; every blob is in the store.
        unpacked: Whether the file was an archive, so that `files` are its contents.
    """

    files: list[FileEntry]
    unpacked: bool


def keep(path: Path, *, filename: str, sha256: str = "") -> Contents:
    """Put an uploaded file, or the files in an uploaded archive, into the blob store.

    Raises:
        Invalid: The archive is unsafe; blobs already written are found unused and dropped later.
        StorageFull: There is no room.
    """
    with path.open("rb") as stream:
        kind = _archive_kind(stream)
        if not kind:
            kept = blobs.put(path, sha256=sha256)
            return Contents(
                [FileEntry(names.file_name(filename), kept.sha256, kept.size)], unpacked=False
            )
        entries: list[FileEntry] = []

        def take(member: Member, content: BinaryIO) -> None:
            entries.append(blobs.put_stream(content, path=member.path))

        with _plain(stream) as plain:
            archives.unpack(plain, kind, compressed_size=path.stat().st_size, take=take)
    return Contents(_without_wrapper(entries), unpacked=True)


def inspect_entries(files: Sequence[FileEntry]) -> Inspected:
    """Return what files of the blob store say together.

    Raises:
        Invalid: They are not one model.
    """
    return detect.inspect_set({f.path: partial(_open_entry, f.sha256) for f in files})


def inspect_folder(folder: Path) -> Inspected:
    """Return what the files below `folder` say together.

    Raises:
        Invalid: They are not one model.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return detect.inspect_set(
        {path.relative_to(folder).as_posix(): partial(_open_path, path) for path in paths}
    )


def _open_entry(sha256: str) -> AbstractContextManager[BinaryIO]:
    local = blobs.local_path(sha256)
    return _open_path(local) if local is not None else _fetched(sha256)


@contextmanager
def _open_path(path: Path) -> Iterator[BinaryIO]:
    """Open a file, decompressed where it is compressed as a whole (joblib does that)."""
    with path.open("rb") as stream:
        head = stream.read(16)
        stream.seek(0)
        if not detect.is_compressed(head):
            yield stream
            return
        with blobs.full_disk_said_clearly(), _spool() as plain:
            _copy(_decompressing(stream, head), plain, compressed_size=path.stat().st_size)
            plain.seek(0)
            yield plain


@contextmanager
def _fetched(sha256: str) -> Iterator[BinaryIO]:
    """Bring a blob that lies elsewhere (S3) here for as long as it is read."""
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        path = Path(folder) / "blob"
        blobs.write_to(sha256, path)
        with _open_path(path) as stream:
            yield stream


def _archive_kind(stream: BinaryIO) -> str:
    """Return "zip" or "tar" for an archive that holds files of a version, "" otherwise."""
    stream.seek(0)
    head = stream.read(512)
    kind = archives.kind_of(head)
    if kind == "zip" and _is_pytorch(stream):
        return ""
    if not kind and detect.is_compressed(head):
        stream.seek(0)
        try:
            kind = archives.kind_of(_decompressing(stream, head).read(512))
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise _broken() from error
    stream.seek(0)
    return kind


def _is_pytorch(stream: BinaryIO) -> bool:
    """Return whether a zip file is one of PyTorch's, which are one file, not an archive."""
    listed = archives.zip_names(stream)
    inner = {name.partition("/")[2] for name in listed}
    last = {name.rpartition("/")[2] for name in listed}
    marks = {"constants.pkl", "data.pkl", "archive_format"}
    return "MLmodel" not in last and bool(
        marks & inner or "serialized_exported_program.json" in last
    )


@contextmanager
def _plain(stream: BinaryIO) -> Iterator[BinaryIO]:
    stream.seek(0)
    head = stream.read(16)
    stream.seek(0)
    try:
        yield _decompressing(stream, head) if detect.is_compressed(head) else stream
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _broken() from error
    except OSError as error:  # bz2 says so when its data is invalid, without a number
        if error.errno is not None:
            raise
        raise _broken() from error


def _decompressing(stream: BinaryIO, head: bytes) -> BinaryIO:
    if head.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    if head.startswith(b"BZh"):
        return cast(BinaryIO, bz2.BZ2File(stream))
    if head.startswith(b"\xfd7zXZ"):
        return cast(BinaryIO, lzma.LZMAFile(stream))
    return cast(BinaryIO, io.BufferedReader(_Zlib(stream)))


class _Zlib(io.RawIOBase):
    """A zlib stream, decompressed piece by piece (joblib's `compress=True`)."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.machine = stream, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # a writable buffer
        while not self.machine.eof:
            given = self.machine.unconsumed_tail or self.stream.read(64 * 1024)
            found = self.machine.decompress(given, len(room))
            if found:
                room[: len(found)] = found
                return len(found)
            if not given:
                raise EOFError("the compressed data ends too early")
        return 0


def _copy(source: BinaryIO, target: BinaryIO, *, compressed_size: int) -> None:
    most = min(archives.LARGEST_TOTAL, max(archives.SMALL, compressed_size * archives.MOST_RATIO))
    total = 0
    try:
        while chunk := source.read(CHUNK):
            total += len(chunk)
            if total > most:
                raise Invalid(
                    f"The file decompresses to more than {most // 1024**2} MB, "
                    "far more than its size allows.",
                    field="upload",
                    code="archive.bomb",
                )
            target.write(chunk)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _broken() from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _broken() from error


def _without_wrapper(entries: list[FileEntry]) -> list[FileEntry]:
    """Drop the one folder that holds everything, as `tar czf model.tar.gz model/` makes it."""
    while folder := archives.common_folder([entry.path for entry in entries]):
        entries = [FileEntry(e.path[len(folder) :], e.sha256, e.size) for e in entries]
    return entries


@contextmanager
def _spool() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile(dir=_scratch()) as plain:
        yield cast(BinaryIO, plain)


def _scratch() -> Path:
    folder = Path(settings.UPLOAD_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _broken() -> Invalid:
    return Invalid(
        "The file is compressed, but cannot be decompressed to its end.",
        remedy="Compress it again, and upload it from a complete copy.",
        field="upload",
        code="archive.broken",
    )
