"""One hand at a time on the numbers of a model.

MLflow gives a new version the highest number plus one, and so do we. For both to agree, whoever
makes a version in either place holds the model's numbers while doing so: MLflow's door and
the mirror across their call to MLflow (`held`), REST and the browser within their transaction
(`hold`). The lock is PostgreSQL's, so it ends with the process that held it.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from controlplane.kernel.errors import Transient

PAUSE = 0.02  # seconds between two tries


def hold(model: str) -> None:
    """Hold the numbers of `model` until the current transaction ends, waiting for others."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_key(model)])


@contextmanager
def held(model: str, *, seconds: float = 10.0) -> Iterator[None]:
    """Hold the numbers of `model` during the block, with no transaction open.

    Raises:
        Transient: Somebody else held them for `seconds`.
    """
    key, give_up = _key(model), time.monotonic() + seconds
    while not _ask("SELECT pg_try_advisory_lock(%s)", key):
        if time.monotonic() > give_up:
            raise Transient(
                f"Another version of {model} is being registered right now.",
                remedy="Try again in a few seconds.",
                code="registry.numbers_held",
            )
        time.sleep(PAUSE)
    try:
        yield
    finally:
        _ask("SELECT pg_advisory_unlock(%s)", key)


def _ask(query: str, key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(query, [key])
        row = cursor.fetchone()
    return bool(row and row[0])


def _key(model: str) -> int:
    digest = hashlib.sha256(f"registry.numbers/{model}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
