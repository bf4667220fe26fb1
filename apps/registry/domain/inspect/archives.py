"""Opening archives that strangers made: listed and checked before a byte is unpacked.

Refused, each with its own code: paths that lead out, links and devices, too many files,
names used twice, encryption, and contents that are far larger than the archive (bombs). What
an archive announces is not believed either: reading stops where the announcement ends.
"""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from apps.registry.domain import names
from apps.registry.domain.inspect.reading import Unreadable
from controlplane.kernel.errors import Invalid

MOST_FILES = 10_000
LARGEST_TOTAL = 20 * 1024**3
LARGEST_INDEX = 16 * 1024**2  # bytes of a zip file's directory
LARGEST_HEADER = 1024**2  # bytes of a tar's extended header
MOST_RATIO = 200  # weights compress badly; text and tables hardly reach 30
SMALL = 100 * 1024**2  # below this total the ratio does not matter
JUNK = ("__MACOSX/", ".DS_Store", "/.DS_Store")


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Attributes:
        path: Clean and relative, without the folder that holds everything.
        size: Bytes when unpacked, as announced.
    """

    path: str
    size: int


Take = Callable[[Member, BinaryIO], None]


def kind_of(head: bytes) -> str:
    """Return "zip", "tar" or "" for a file that begins with `head` (512 bytes)."""
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    return "tar" if head[257:262] == b"ustar" else ""


def unpack(stream: BinaryIO, kind: str, *, compressed_size: int, take: Take) -> list[Member]:
    """Hand each file of the archive to `take`, in the archive's order.

    Args:
        stream: The archive, seekable; a compressed tar already decompressing.
        kind: "zip" or "tar".
        compressed_size: Bytes that were uploaded, to measure bombs against.
        take: Reads the member's stream to its end, or ignores it.

    Returns:
        The members.

    Raises:
        Invalid: The archive is unsafe or broken; the code begins with `archive.`.
    """
    guard = _Guard(compressed_size)
    try:
        members = _zip(stream, guard, take) if kind == "zip" else _tar(stream, guard, take)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise _broken(kind) from error
    except (NotImplementedError, RuntimeError, UnicodeError, ValueError, IndexError) as error:
        raise _broken(kind) from error
    if not members:
        raise Invalid("The archive is empty.", field="upload", code="archive.empty")
    return members


def zip_names(stream: BinaryIO) -> list[str]:
    """Return the names in a zip file, unchecked, to tell what kind of zip it is.

    Raises:
        Unreadable: It is not a whole zip file.
    """
    refuse_endless_index(stream)
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            return archive.namelist()[: MOST_FILES + 1]
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
        raise _broken("zip") from error


def refuse_endless_index(stream: BinaryIO) -> None:
    """Refuse a zip file whose index alone would not fit into memory.

    Raises:
        Invalid: The code is `archive.too_many_files`.
    """
    end = stream.seek(0, 2)
    stream.seek(max(0, end - 66_000))
    tail = stream.read(66_000)
    large = tail.rfind(b"PK\x06\x06")
    at = tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if large >= 0:
        size = max(size % 0xFFFFFFFF, int.from_bytes(tail[large + 40 : large + 48], "little"))
    if size > LARGEST_INDEX:
        raise _too_many()


def zip_read(stream: BinaryIO, name: str, *, limit: int) -> bytes:
    """Return at most `limit` bytes of one file of a zip file.

    Raises:
        Unreadable: It cannot be read.
    """
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive, archive.open(name) as member:
            return member.read(limit)
    except (zipfile.BadZipFile, EOFError, KeyError, RuntimeError, ValueError, zlib.error,
            NotImplementedError) as error:  # fmt: skip
        raise _broken("zip") from error


def common_folder(paths: list[str]) -> str:
    """Return the one folder, with its slash, that holds every path; "" when there is none."""
    first = paths[0].partition("/")[0] + "/" if paths else ""
    return first if paths and all(path.startswith(first) for path in paths) else ""


class _Guard:
    """Counts what comes out of an archive, and stops what is too much."""

    def __init__(self, compressed_size: int) -> None:
        self.most = min(LARGEST_TOTAL, max(SMALL, compressed_size * MOST_RATIO))
        self.announced = self.out = 0
        self.seen: set[str] = set()

    def admit(self, name: str, size: int) -> Member | None:
        """Check a name and an announced size; None for what operating systems leave behind."""
        if any(name.startswith(junk) or name.endswith(junk) for junk in JUNK):
            return None
        path = names.file_path(name)
        if path.lower() in self.seen:
            raise Invalid(
                f"The archive holds {path[:120]!r} twice.",
                field="upload",
                code="archive.duplicate",
            )
        self.seen.add(path.lower())
        if len(self.seen) > MOST_FILES:
            raise _too_many()
        self.announced += max(size, 0)
        self._refuse_bomb(self.announced)
        return Member(path, size)

    def count(self, read: int) -> None:
        """Note that `read` more bytes came out."""
        self.out += read
        self._refuse_bomb(self.out)

    def _refuse_bomb(self, total: int) -> None:
        if total > self.most:
            raise Invalid(
                f"The archive unpacks to more than {self.most // 1024**2} MB, "
                "far more than its size allows.",
                remedy="Upload the files themselves, or an archive with less compression.",
                field="upload",
                code="archive.bomb",
            )


class _Counted:
    """A member's stream that the guard watches and that ends where it was announced to."""

    def __init__(self, inner: BinaryIO, member: Member, guard: _Guard) -> None:
        self.inner, self.left, self.guard, self.member = inner, member.size, guard, member

    def read(self, count: int = -1) -> bytes:
        wanted = self.left if count < 0 else min(count, self.left)
        chunk = self.inner.read(wanted) if wanted else b""
        if wanted and not chunk:
            raise EOFError
        self.left -= len(chunk)
        self.guard.count(len(chunk))
        return chunk


def _zip(stream: BinaryIO, guard: _Guard, take: Take) -> list[Member]:
    refuse_endless_index(stream)
    stream.seek(0)
    members = []
    with zipfile.ZipFile(stream) as archive:
        admitted = [(info, _zip_member(info, guard)) for info in archive.infolist()]
        for info, member in admitted:
            if member is None:
                continue
            members.append(member)
            with archive.open(info) as inner:
                take(member, cast(BinaryIO, _Counted(cast(BinaryIO, inner), member, guard)))
    return members


def _zip_member(info: zipfile.ZipInfo, guard: _Guard) -> Member | None:
    mode = info.external_attr >> 16
    if info.is_dir():
        names.file_path(info.filename)
        return None
    if info.flag_bits & 0x1:
        raise Invalid(
            f"The archive's file {info.filename[:120]!r} is encrypted.",
            remedy="Upload it without a password.",
            field="upload",
            code="archive.encrypted",
        )
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise _link(info.filename)
    return guard.admit(info.filename, info.file_size)


def _tar(stream: BinaryIO, guard: _Guard, take: Take) -> list[Member]:
    members = []
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Info) as archive:
        for info in _bounded(archive):
            if info.isdir():
                if info.name not in (".", "./"):
                    names.file_path(info.name)
                continue
            if not info.isreg():
                raise _link(info.name)
            member = guard.admit(info.name, info.size)
            inner = archive.extractfile(info)
            if member is None or inner is None:
                continue
            members.append(member)
            counted = _Counted(cast(BinaryIO, inner), member, guard)
            take(member, cast(BinaryIO, counted))
    return members


class _Info(tarfile.TarInfo):
    """A tar entry whose extended headers, which are read into memory, cannot be huge."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = self.type not in tarfile.SUPPORTED_TYPES or self.type in (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if extended and self.size > LARGEST_HEADER:
            raise tarfile.ReadError("an extended header is too long")
        return cast(tarfile.TarInfo, super()._proc_member(archive))  # type: ignore[misc]


def _bounded(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, info in enumerate(archive):
        if number > 2 * MOST_FILES:
            raise _too_many()
        yield info


def _too_many() -> Invalid:
    return Invalid(
        f"The archive holds more than {MOST_FILES} files.",
        field="upload",
        code="archive.too_many_files",
    )


def _link(name: str) -> Invalid:
    return Invalid(
        f"The archive's entry {name[:120]!r} is a link or a device, not a file.",
        remedy="Pack the files themselves (tar: add -h).",
        field="upload",
        code="archive.link",
    )


def _broken(kind: str) -> Unreadable:
    return Unreadable(
        f"The file begins as a {kind} archive but cannot be read to its end.",
        remedy="Pack it again, and upload it from a complete copy.",
        field="upload",
        code="archive.broken",
    )
