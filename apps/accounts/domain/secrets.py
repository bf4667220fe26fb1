"""API tokens as text: made, recognised, and hashed.

A token is "my_", 40 random characters (238 bits) and a checksum of 6, so that a scanner can tell
one in a leaked file from noise, and a mistyped one never reaches the database.
"""

import hashlib
import string
import zlib
from collections.abc import Callable

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX = "my_"
BODY_LENGTH = 40
CHECK_LENGTH = 6
SHOWN = 9  # how much of a token may be shown again: "my_" and six characters


def new_token(choice: Callable[[str], str]) -> str:
    """Return a fresh token.

    Args:
        choice: Picks one character unpredictably; `secrets.choice`.
    """
    body = "".join(choice(ALPHABET) for _ in range(BODY_LENGTH))
    return f"{PREFIX}{body}{_check(body)}"


def is_token(text: str) -> bool:
    """Return whether `text` has the form of a token, checksum included."""
    body = text[len(PREFIX) : len(PREFIX) + BODY_LENGTH]
    return (
        text.startswith(PREFIX)
        and len(text) == len(PREFIX) + BODY_LENGTH + CHECK_LENGTH
        and all(c in ALPHABET for c in body)
        and text.endswith(_check(body))
    )


def hash_of(token: str) -> str:
    """Return what is stored instead of `token`: SHA-256, as 64 hex digits.

    A fast hash is right here: the secret is random, so there is nothing to guess.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def _check(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECK_LENGTH):
        number, index = divmod(number, len(ALPHABET))
        digits = ALPHABET[index] + digits
    return digits
