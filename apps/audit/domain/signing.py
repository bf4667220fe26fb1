"""Signed lines: what only the holder of the ledger's key can write. Pure.

The key is Ed25519 (RFC 8032). A signed line is an object that names its key and ends in
`signature`, made over the bytes before it, as `chain` says.
"""

import base64
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from apps.audit.domain import chain

SEED_BYTES = 32
ALGORITHM = "Ed25519"
Keys = Mapping[str, Ed25519PublicKey]


class NotAKey(ValueError):
    """The bytes are not an Ed25519 public key in PEM."""


class Signer:
    """Signs lines with one key."""

    def __init__(self, seed: bytes) -> None:
        """Keep the key that `seed`, 32 random bytes, stands for."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.key_id = key_id(self._key.public_key())

    def line(self, kind: str, values: Mapping[str, Any]) -> bytes:
        """Return a signed line of one `kind` ("checkpoint"), without a line feed."""
        body = chain.canonical({kind: {**values, "key": self.key_id}})
        return chain.close(body, chain.SIGNATURE, self._key.sign(body).hex())

    def public_pem(self) -> bytes:
        """Return the public key, as everybody may have it."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key: the first 16 hex digits of the sha256 of its 32 bytes."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def keyring(pems: Iterable[bytes]) -> dict[str, Ed25519PublicKey]:
    """Return public keys by their names.

    Raises:
        NotAKey: One of them is something else.
    """
    return {key_id(key): key for key in map(_load, pems)}


def signed(body: bytes, signature: str, key: Ed25519PublicKey) -> bool:
    """Return whether `signature`, in hex, was made over `body` by the holder of `key`."""
    try:
        key.verify(bytes.fromhex(signature), body)
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(pem: bytes) -> str:
    """Return the sha256 of a key as OpenSSH writes it, to be compared by eye."""
    raw = _load(pem).public_bytes(Encoding.Raw, PublicFormat.Raw)
    return "SHA256:" + base64.b64encode(sha256(raw).digest()).decode().rstrip("=")


def _load(pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise NotAKey("This is not a public key in PEM.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise NotAKey("This is not an Ed25519 key; the ledger is signed with Ed25519.")
    return key
