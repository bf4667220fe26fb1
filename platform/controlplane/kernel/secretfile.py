"""Secrets that the programs of one machine share: made once, by whoever needs them first."""

import contextlib
import os
import secrets
from pathlib import Path


def read_or_make(path: Path, *, size: int) -> bytes:
    """Return the secret at `path`; make `size` random bytes the first time.

    Two programs that make it at the same moment get the same: it appears whole, once.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_bytes(size).hex())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    return bytes.fromhex(path.read_text().strip())
