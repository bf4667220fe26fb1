"""Packs files into a zip that is signed with OpenSSF model signing."""

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from model_signing import signing

from apps.audit.domain import bundles

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files make the same entries


def pack(files: Mapping[str, bytes], seed: bytes) -> bytes:
    """Return a zip of `files` and their signature.

    Args:
        files: Contents by path within the bundle ("release.html", "evidence/scan.json").
        seed: What the signing key is made from.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        content, key = Path(folder) / "content", Path(folder) / "key"
        for name, data in files.items():
            path = content / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        key.touch(0o600)
        key.write_bytes(bundles.private_pem(seed))
        signature = Path(folder) / bundles.SIGNATURE
        signing.Config().use_elliptic_key_signer(private_key=key).sign(content, signature)
        return _zipped({**files, bundles.SIGNATURE: signature.read_bytes()})


def _zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return out.getvalue()
