"""`modelyard bundle verify`: is this bundle what was signed? Needs the file and the key only."""

import contextlib
import io
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import click
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from apps.audit.domain import bundles
from controlplane.cli.output import note, show

REFUSED = 1
MOST_BYTES = 1 << 30  # unpacked
MOST_FILES = 10_000
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class NotSigned(Exception):
    """The bundle is not what the holder of the key signed; the message says why."""


@click.group()
def bundle() -> None:
    """Check signed bundles."""


@bundle.command("verify")
@click.argument("file", type=FILE)
@click.option("--key", required=True, type=FILE, help="The public key of bundles; see /audit.")
@click.pass_obj
def verify_command(obj: dict[str, Any], file: Path, key: Path) -> None:
    """Say whether FILE is what was signed, and list what is in it.

    Exit code 0: it is. 1: a file was changed, added or taken out, or the signature is not the
    key's. The signature is OpenSSF model signing's: its own tool, `model_signing verify key`,
    says the same of the unpacked bundle.
    """
    try:
        names = verify(file, key)
    except NotSigned as error:
        note(str(error))
        print("NOT what was signed.")
        sys.exit(REFUSED)
    if obj["json"]:
        show({"signed": True, "files": names}, as_json=True)
    else:
        print(f"Signed, and unchanged: {', '.join(names)}.")


def verify(file: Path, key: Path) -> list[str]:
    """Return the names of the files, all of which are what was signed.

    Raises:
        NotSigned: They are not.
        click.UsageError: The key is not a public key of bundles.
    """
    _check_key(key)
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        content, signature = Path(folder) / "content", Path(folder) / bundles.SIGNATURE
        names = _unpack(file, content)
        (content / bundles.SIGNATURE).rename(signature)
        _check_signature(content, signature, key)
    return names


def _check_key(key: Path) -> None:
    try:
        loaded = load_pem_public_key(key.read_bytes())
    except ValueError as error:
        raise click.UsageError(f"{key} is not a public key in PEM.") from error
    if not isinstance(loaded, EllipticCurvePublicKey):
        raise click.UsageError(
            f"{key} is not the key of bundles, which is of an elliptic curve. "
            "The ledger's checkpoints are signed with another one."
        )


def _unpack(file: Path, folder: Path) -> list[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            _check_entries(entries, names)
            archive.extractall(folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise NotSigned(f"{file} is not a zip that can be read: {error}") from error
    return [name for name in names if name != bundles.SIGNATURE]


def _check_entries(entries: list[zipfile.ZipInfo], names: list[str]) -> None:
    if names.count(bundles.SIGNATURE) != 1:
        raise NotSigned(f"It holds no signature ({bundles.SIGNATURE}).")
    if len(set(names)) != len(names):
        raise NotSigned("A name stands in it twice.")
    if wrong := bundles.wrong_name(name for name in names if name != bundles.SIGNATURE):
        raise NotSigned(f"{wrong} cannot be in a bundle.")
    if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise NotSigned("It is larger than a bundle may be.")


def _check_signature(content: Path, signature: Path, key: Path) -> None:
    # Heavy, and only this command needs it.
    from model_signing import verifying  # noqa: PLC0415

    config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            config.verify(content, signature)
    except InvalidSignature as error:
        raise NotSigned("The signature is not of this key.") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise NotSigned(f"It is not what was signed: {error}") from error
