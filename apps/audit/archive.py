"""The folder of the export: segments, checkpoints and public keys, for whoever keeps copies.

A file appears whole or not at all, and is on the disk before the database is told of it. What is
read back is believed only as far as its digest goes.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

CHECKPOINTS = "checkpoints.jsonl"
TAIL = 64 * 1024  # bytes; more than any line of a checkpoint


@dataclass(frozen=True)
class Written:
    """What is on the disk now.

    Attributes:
        sha256: Of the whole file, 64 hex digits.
        size: In bytes.
    """

    sha256: str
    size: int


def write(path: Path, lines: Iterable[bytes]) -> Written:
    """Write a whole file; `lines` carry their line feeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    digest, size = sha256(), 0
    try:
        with draft.open("wb") as stream:
            for line in lines:
                digest.update(line)
                size += stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _folder_to_disk(path.parent)
    return Written(digest.hexdigest(), size)


def intact(path: Path, digest: str) -> bool:
    """Return whether the file is still there, and still what was written."""
    try:
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest() == digest
    except OSError:
        return False


def append_checkpoints(folder: Path, lines: Iterator[bytes]) -> None:
    """Add lines to the file of checkpoints; a line that was cut off by a crash goes first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINTS
    with path.open("ab") as stream:
        stream.truncate(_whole_lines(path))
        for line in lines:
            stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def last_checkpoint(folder: Path) -> tuple[int, bytes] | None:
    """Return the number and the line of the last checkpoint in the file, if there is one."""
    path = folder / CHECKPOINTS
    end = _whole_lines(path)
    if not end:
        return None
    with path.open("rb") as stream:
        stream.seek(max(0, end - TAIL))
        line = stream.read(min(end, TAIL)).rstrip(b"\n").rpartition(b"\n")[2]
    try:
        return int(json.loads(line)["checkpoint"]["number"]), line
    except (ValueError, KeyError, TypeError):
        return 0, line


def keep_key(folder: Path, key_id: str, pem: bytes) -> None:
    """Put a public key beside what it signed."""
    path = folder / f"ledger-{key_id}.pub"
    if not path.exists():
        write(path, [pem])


def public_keys(folder: Path) -> list[bytes]:
    """Return every public key that was ever put there."""
    return [path.read_bytes() for path in sorted(folder.glob("ledger-*.pub"))]


def _whole_lines(path: Path) -> int:
    """Return where the last whole line ends, in bytes from the beginning."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    with path.open("rb") as stream:
        stream.seek(max(0, size - TAIL))
        tail = stream.read()
    return size - len(tail) + tail.rfind(b"\n") + 1


def _folder_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
