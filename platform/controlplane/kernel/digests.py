"""Content digests: how bytes, files and sets of files are named.

A digest is written `sha256:<64 hex digits>`, as in the OCI image specification
(https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class FileEntry:
    """One file of a manifest.

    Attributes:
        path: Relative, with forward slashes ("model/MLmodel").
        sha256: 64 hex digits.
        size: Bytes.
    """

    path: str
    sha256: str
    size: int


def of_bytes(content: bytes) -> str:
    """Return the digest of `content`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def of_stream(stream: BinaryIO) -> tuple[str, int]:
    """Return the digest of what `stream` still holds, and how many bytes that was."""
    seen, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        seen.update(chunk)
        size += len(chunk)
    return "sha256:" + seen.hexdigest(), size


def of_file(path: Path) -> str:
    """Return the digest of the file at `path`."""
    with path.open("rb") as stream:
        return of_stream(stream)[0]


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return `value` as canonical JSON: sorted keys, no spaces, UTF-8 (after RFC 8785)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def of_manifest(files: Iterable[FileEntry]) -> str:
    """Return the digest that identifies a set of files by content and path.

    The order in which the files are given does not matter.
    """
    listed = sorted(files, key=lambda f: f.path)
    return of_bytes(
        canonical(
            {"files": [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in listed]}
        )
    )
