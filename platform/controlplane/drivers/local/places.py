"""Where the embedded stack's Unix sockets lie.

A socket's path has at most 107 bytes. Below a long MODELYARD_HOME the sockets are reached
through a short link in the temporary folder, so that state still lies under one folder.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from controlplane.kernel.errors import Permanent

LONGEST = 104  # bytes; what macOS allows, a little less than Linux
DEEPEST = "postgres/socket/.s.PGSQL.5432"


def mark(home: Path) -> str:
    """Return a short name that only this home has on this machine."""
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:10]


def short(home: Path) -> Path:
    """Return `home` in a form that is short enough for sockets below it."""
    if len(os.fsencode(home / DEEPEST)) <= LONGEST:
        return home
    return Path(tempfile.gettempdir()) / f"modelyard-{mark(home)}"


def make_short(home: Path) -> Path:
    """Make the short form of `home`, and return it.

    Raises:
        Permanent: Somebody else made a file of that name.
    """
    path = short(home)
    if path == home:
        return path
    if not path.is_symlink():
        path.symlink_to(home, target_is_directory=True)
    if path.lstat().st_uid != os.geteuid() or path.resolve() != home.resolve():
        raise Permanent(
            f"{path} belongs to somebody else.",
            remedy="Remove it, or set MODELYARD_HOME to a shorter path.",
            code="stack.foreign_link",
        )
    return path
