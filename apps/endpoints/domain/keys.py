"""The keys that callers of an endpoint send, and how they are made and told apart.

A key is a signed statement (a JSON Web Token, EdDSA) that names itself. Whoever checks it needs
the public half of the signing key and the list of names that are let in, so neither the proxy
nor the database holds anything that would let somebody in. docs/decisions/0009-endpoint-keys.md
has the reasons.
"""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "modelyard"
SEED_BYTES = 32
HEADER = "x-api-key"
OWN_SECONDS = 120  # how long the key lives that our own pages send


def mint(seed: bytes, *, name: str, expires: int | None = None) -> str:
    """Return the key called `name`.

    Args:
        seed: The signing key, 32 bytes.
        name: What the key is let in, or revoked, by: the key's public id.
        expires: When it ends, in seconds since 1970; None for never.
    """
    claims: dict[str, Any] = {"iss": ISSUER, "jti": name}
    if expires is not None:
        claims["exp"] = expires
    body = f"{_part({'alg': 'EdDSA'})}.{_part(claims)}"
    return f"{body}.{_text(_signer(seed).sign(body.encode()))}"


def own_name(endpoint: str) -> str:
    """Return the name of the key that our own pages send to the endpoint with this public id."""
    return f"page-{endpoint}"


def public_keys(seed: bytes) -> dict[str, Any]:
    """Return the public half of the signing key, as a JSON Web Key Set."""
    raw = _signer(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": _text(raw)}]}


def _signer(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def _part(value: dict[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
