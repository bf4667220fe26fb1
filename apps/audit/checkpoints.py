"""Checkpoints: signed statements of the chain's end, on a schedule, in the export's folder too.

Whoever holds one checkpoint from outside this machine can tell whether anything before it was
changed since, even by somebody who could rewrite the whole database.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from django.db import connection, transaction

from apps.audit import archive, sealing
from apps.audit.domain import chain
from apps.audit.domain.signing import Signer
from apps.audit.models import Checkpoint, Seal

EVERY = timedelta(minutes=5)
MOST_EVENTS = 50_000  # between two checkpoints; and soon, when a fifth of it has come
SOON = 10_000


def checkpoint(*, signer: Signer, now: datetime) -> int:
    """Sign the end of the chain if it is time, and return how many checkpoints were made.

    A chain that grew by more than `MOST_EVENTS` gets several, so that a segment stays small.
    """
    made = 0
    while _checkpoint(signer, now):
        made += 1
    return made


def latest() -> Checkpoint | None:
    """Return the last checkpoint."""
    return Checkpoint.objects.order_by("-number").first()


def write_out(folder: Path, signer: Signer) -> None:
    """Bring the folder's file of checkpoints up to what the database has."""
    archive.keep_key(folder, signer.key_id, signer.public_pem())
    known = archive.last_checkpoint(folder)
    number = known[0] if known else 0
    last = latest()
    if last is not None and last.number > number:
        archive.append_checkpoints(folder, _lines_after(number))


def _lines_after(number: int) -> Iterator[bytes]:
    rows = Checkpoint.objects.filter(number__gt=number).order_by("number")
    return (row.line.encode() + b"\n" for row in rows)


@transaction.atomic
def _checkpoint(signer: Signer, now: datetime) -> bool:
    with connection.cursor() as cursor:  # waits for the sealing of one batch at most
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [sealing.LOCK])
    last, end = latest(), sealing.head()
    done = last.position if last else 0
    if not _due(last, end.position - done, now):
        return False
    at = Seal.objects.get(position=min(end.position, done + MOST_EVENTS))
    number = last.number + 1 if last else 1
    values = {
        "at": chain.moment(now),
        "hash": at.hash,
        "number": number,
        "position": at.position,
        "previous": chain.digest_of(last.line.encode()) if last else chain.GENESIS,
    }
    line = signer.line("checkpoint", values).decode()
    Checkpoint.objects.create(number=number, at=now, position=at.position, hash=at.hash, line=line)
    return True


def _due(last: Checkpoint | None, grown: int, now: datetime) -> bool:
    if grown <= 0:
        return False
    return last is None or grown >= SOON or now - last.at >= EVERY
