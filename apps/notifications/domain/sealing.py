"""Secrets of channels at rest: sealed with a key made from the server's own.

Fernet (AES-128-CBC and HMAC-SHA256) under a key that HKDF derives, so that whoever reads the
database alone, or a backup of it, cannot post where our channels post.
"""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"modelyard notification channels v1"


class Unreadable(Exception):
    """The text was sealed with another key, or changed."""


def seal(text: str, keys: Sequence[str]) -> str:
    """Return `text` sealed with the first of `keys`."""
    return _fernet(keys).encrypt(text.encode()).decode()


def unseal(sealed: str, keys: Sequence[str]) -> str:
    """Return what `seal` was given, by any of `keys`.

    Raises:
        Unreadable: None of the keys sealed it.
    """
    try:
        return _fernet(keys).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise Unreadable("It was sealed with another key.") from error


def _fernet(keys: Sequence[str]) -> MultiFernet:
    return MultiFernet([Fernet(_derived(key)) for key in keys])


def _derived(key: str) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE)
    return base64.urlsafe_b64encode(kdf.derive(key.encode()))
