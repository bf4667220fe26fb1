"""What a signed bundle is: a zip of files and, beside them, one signature over all of them. Pure.

The signature is OpenSSF model signing's: a Sigstore bundle of an in-toto statement that names the
sha256 of every file. Its keys are of elliptic curves, so it is not the ledger's Ed25519 key.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

SIGNATURE = "model.sig"  # as the standard's own tool calls it
SEED_BYTES = 48
# Never part of a statement, so they could be slipped in unseen.
UNSIGNED = frozenset({".git", ".gitattributes", ".github", ".gitignore", SIGNATURE})
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def private_pem(seed: bytes) -> bytes:
    """Return the signing key (NIST P-256) that `seed`, 48 random bytes, stands for."""
    return _key(seed).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(seed: bytes) -> bytes:
    """Return the public key, as everybody may have it."""
    public = _key(seed).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def wrong_name(names: Iterable[str]) -> str:
    """Return the first name that must not be in a bundle: outside it, or never signed; or ""."""
    for name in names:
        parts = PurePosixPath(name).parts
        outside = name.startswith("/") or "\\" in name or ":" in name or ".." in parts
        if outside or not parts or parts[0] in UNSIGNED or str(PurePosixPath(name)) != name:
            return name or "(no name)"
    return ""


def _key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    # 384 bits modulo a 256-bit order: no value is noticeably more likely (FIPS 186-5, A.2.1).
    secret = int.from_bytes(seed, "big") % (P256_ORDER - 1) + 1
    return ec.derive_private_key(secret, ec.SECP256R1())
