"""Bundles on disk, as an OCI image layout that any registry tool can copy.

A bundle is named by the sha256 of its manifest, and nothing that varies without meaning (a time,
a build's name) goes into it: the same files and the same configuration give the same digest.
Bytes are hashed when they come in and again when they go out, so a bundle that somebody changed
on disk is found before it is served.

See https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from controlplane.kernel import digests
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Permanent

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.modelyard.bundle.v1"
CONFIG_TYPE = "application/vnd.modelyard.bundle.config.v1+json"
FILE_TYPE = "application/vnd.modelyard.file.v1"
TITLE = "org.opencontainers.image.title"
# What a materialised bundle holds besides its files, so that a server can verify all of it again.
MANIFEST_NAME = "manifest.json"
CONFIG_NAME = "bundle.json"


class OciLayout:
    """The bundles below one folder.

    Writers may work at the same time: blobs are named by content and appear by rename, and the
    index is rewritten under a lock.
    """

    def __init__(self, root: Path) -> None:
        """Use the layout at `root`, which `write` makes when it is not there."""
        self.root = Path(root)

    def write(self, files: Mapping[str, Path], config: Mapping[str, Any]) -> str:
        """Store a bundle.

        Args:
            files: Where each file of the bundle lies now, by its relative path within the bundle.
            config: What a server must know to serve it; JSON.

        Returns:
            The digest of the manifest, "sha256:...". The same input gives the same digest.

        Raises:
            ValueError: A path is absolute or leaves the bundle.
        """
        self._prepare()
        layers = []
        for path in sorted(files):
            _check(path)
            digest, size = self._store(files[path])
            layers.append(_descriptor(FILE_TYPE, digest, size) | {"annotations": {TITLE: path}})
        content = digests.canonical(config)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": _descriptor(CONFIG_TYPE, self._store_bytes(content), len(content)),
            "layers": layers,
        }
        body = digests.canonical(manifest)
        digest = self._store_bytes(body)
        self._list(_descriptor(MANIFEST_TYPE, digest, len(body)))
        return digest

    def adopt(self, digest: str, source: "OciLayout") -> None:
        """Copy the bundle `digest` from another layout, verifying every blob on the way.

        Raises:
            Permanent: A blob of the source is missing or is not what its digest says.
        """
        if self.exists(digest):
            return
        self._prepare()
        manifest = source.read_manifest(digest)
        for blob in [manifest["config"], *manifest["layers"]]:
            self._take(source, str(blob["digest"]))
        self._take(source, digest)
        size = self._blob(digest).stat().st_size
        self._list(_descriptor(MANIFEST_TYPE, digest, size))

    def exists(self, digest: str) -> bool:
        """Return whether the bundle and all its blobs are here (their bytes are not read)."""
        try:
            manifest = self.read_manifest(digest)
        except Permanent:
            return False
        blobs = [manifest["config"], *manifest["layers"]]
        return all(self._blob(str(blob["digest"])).is_file() for blob in blobs)

    def read_config(self, digest: str) -> dict[str, Any]:
        """Return the configuration of the bundle `digest`.

        Raises:
            Permanent: It is missing (`bundle.missing`) or damaged (`bundle.corrupt`).
        """
        manifest = self.read_manifest(digest)
        return self._read_json(str(manifest["config"]["digest"]))

    def read_manifest(self, digest: str) -> dict[str, Any]:
        """Return the OCI manifest of the bundle `digest`, verified.

        Raises:
            Permanent: It is missing (`bundle.missing`) or damaged (`bundle.corrupt`).
        """
        manifest = self._read_json(digest)
        try:
            paths = [layer["annotations"][TITLE] for layer in manifest["layers"]]
            for path in paths:
                _check(path)
            _hex(manifest["config"]["digest"])
        except (KeyError, TypeError, ValueError) as error:
            raise corrupt(digest, f"its manifest is malformed ({error})") from error
        return manifest

    def files(self, digest: str) -> list[FileEntry]:
        """Return the files of the bundle `digest`, by path.

        Raises:
            Permanent: It is missing or damaged.
        """
        return [
            FileEntry(layer["annotations"][TITLE], _hex(layer["digest"]), int(layer["size"]))
            for layer in self.read_manifest(digest)["layers"]
        ]

    def open_blob(self, digest: str) -> BinaryIO:
        """Open one blob for reading; whoever reads it hashes it.

        Raises:
            Permanent: It is missing.
        """
        try:
            return self._blob(digest).open("rb")
        except FileNotFoundError as error:
            raise _missing(digest) from error

    def materialise(self, digest: str, target: Path) -> None:
        """Write the bundle's files below `target`, verifying the sha256 of every one.

        Beside them lie its configuration (`bundle.json`) and its manifest (`manifest.json`),
        byte for byte: with the bundle's digest they let a server check the folder by itself.
        `target` appears complete or not at all; a folder that is already there is replaced.

        Raises:
            Permanent: A blob is missing (`bundle.missing`) or damaged (`bundle.corrupt`).
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.parent / f".{target.name}-{secrets.token_hex(4)}"
        try:
            draft.mkdir()
            for entry in self.files(digest):
                destination = draft / entry.path
                destination.parent.mkdir(parents=True, exist_ok=True)
                self._copy_verified(f"sha256:{entry.sha256}", destination)
            config = str(self.read_manifest(digest)["config"]["digest"])
            self._copy_verified(config, draft / CONFIG_NAME)
            self._copy_verified(digest, draft / MANIFEST_NAME)
            _replace_folder(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _prepare(self) -> None:
        (self.root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        marker = self.root / "oci-layout"
        if not marker.exists():
            _write_atomically(marker, b'{"imageLayoutVersion":"1.0.0"}')

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / _hex(digest)

    def _store(self, source: Path) -> tuple[str, int]:
        """Copy `source` in under its digest; the digest is of the bytes that were copied."""
        draft = self._draft()
        try:
            shutil.copyfile(source, draft)
            digest = digests.of_file(draft)
            return digest, self._settle(draft, digest)
        finally:
            draft.unlink(missing_ok=True)

    def _store_bytes(self, content: bytes) -> str:
        digest = digests.of_bytes(content)
        if not self._blob(digest).exists():
            _write_atomically(self._blob(digest), content)
        return digest

    def _take(self, source: "OciLayout", digest: str) -> None:
        if self._blob(digest).exists():
            return
        draft = self._draft()
        try:
            source._copy_verified(digest, draft)
            self._settle(draft, digest)
        finally:
            draft.unlink(missing_ok=True)

    def _draft(self) -> Path:
        return self.root / "blobs" / "sha256" / f".{secrets.token_hex(8)}"

    def _settle(self, draft: Path, digest: str) -> int:
        size = draft.stat().st_size
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        draft.chmod(0o644)
        draft.replace(self._blob(digest))
        return size

    def _copy_verified(self, digest: str, destination: Path) -> None:
        """Copy a blob and check the copy, so that what was checked is what is used."""
        try:
            shutil.copyfile(self._blob(digest), destination)
        except FileNotFoundError as error:
            raise _missing(digest) from error
        if digests.of_file(destination) != digest:
            destination.unlink()
            raise corrupt(digest, "its bytes have changed since it was written")

    def _read_json(self, digest: str) -> dict[str, Any]:
        try:
            content = self._blob(digest).read_bytes()
        except (FileNotFoundError, ValueError) as error:
            raise _missing(digest) from error
        if digests.of_bytes(content) != digest:
            raise corrupt(digest, "its bytes have changed since it was written")
        try:
            value = json.loads(content)
        except ValueError as error:
            raise corrupt(digest, "it is not JSON") from error
        if not isinstance(value, dict):
            raise corrupt(digest, "it is not a JSON object")
        return value

    def _list(self, descriptor: dict[str, Any]) -> None:
        """Add a bundle to `index.json`, where other OCI tools look for it."""
        index = self.root / "index.json"
        with self._locked():
            try:
                listed = json.loads(index.read_bytes())["manifests"]
            except (OSError, ValueError, KeyError):
                listed = []
            if any(m.get("digest") == descriptor["digest"] for m in listed):
                return
            manifests = sorted([*listed, descriptor], key=lambda m: str(m["digest"]))
            body = {"schemaVersion": 2, "manifests": manifests}
            _write_atomically(index, digests.canonical(body))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def corrupt(digest: str, why: str) -> Permanent:
    """Return the error for a bundle whose bytes are not what its digest says."""
    return Permanent(
        f"The bundle part {digest} is damaged: {why}.",
        remedy="Build the version again; do not serve this bundle.",
        code="bundle.corrupt",
    )


def _missing(digest: str) -> Permanent:
    return Permanent(
        f"There is no bundle part {digest} in this store.",
        remedy="Build the version again.",
        code="bundle.missing",
    )


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _hex(digest: str) -> str:
    """Return the hex part of `digest`, or refuse what could name another file."""
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise ValueError(f"{digest!r} is not a sha256 digest")
    return digits


def _check(path: str) -> None:
    parts = PurePosixPath(path).parts
    outside = not parts or PurePosixPath(path).is_absolute() or ".." in parts
    if outside or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} is not a relative path inside the bundle")


def _write_atomically(path: Path, content: bytes) -> None:
    draft = path.parent / f".{secrets.token_hex(8)}"
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _replace_folder(draft: Path, target: Path) -> None:
    if not target.exists():
        draft.rename(target)
        return
    old = target.parent / f".{target.name}-{secrets.token_hex(4)}"
    target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)
