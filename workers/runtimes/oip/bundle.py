"""A materialised bundle: checked against its digest before anything in it is used.

The folder holds the bundle's files, `bundle.json` (its configuration) and `manifest.json` (the OCI
manifest). The digest names the manifest, and the manifest names everything else, so the digest
alone vouches for every byte.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from workers.runtimes.oip.problem import Problem

CONFIG_NAME = "bundle.json"
MANIFEST_NAME = "manifest.json"
TITLE = "org.opencontainers.image.title"


def verified(folder: Path, digest: str) -> dict[str, Any]:
    """Hash the whole bundle again and return its configuration.

    Raises:
        Problem: Something is missing, or is not what the digest says.
    """
    manifest = json.loads(_checked(folder, MANIFEST_NAME, digest))
    for layer in manifest["layers"]:
        _check(folder, layer["annotations"][TITLE], layer["digest"])
    config: dict[str, Any] = json.loads(
        _checked(folder, CONFIG_NAME, manifest["config"]["digest"])
    )
    return config


def _checked(folder: Path, name: str, digest: str) -> bytes:
    _check(folder, name, digest)
    return (folder / name).read_bytes()


def _check(folder: Path, name: str, digest: str) -> None:
    try:
        with (folder / name).open("rb") as stream:
            found = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _refused(f"{name} cannot be read: {error.strerror}") from error
    if found != digest:
        raise _refused(f"{name} has the digest {found}, and {digest} was expected")


def _refused(words: str) -> Problem:
    return Problem(
        "The bundle is not the one that was built, so it is not served.",
        code="bundle.corrupt",
        remedy="Serve the version again: the bundle is then written anew. If this comes back, "
        "build the version again.",
        words=words,
        status=65,
    )
