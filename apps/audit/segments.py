"""Segments: the export as files, each written once, and the only way an event may leave us.

The files lie in HOME/ledger for whoever copies them to a place where nobody can change them.
"""

from datetime import datetime, timedelta
from pathlib import Path

import structlog
from django.db import connection, transaction
from django.db.models import Max, Min

from apps.audit import archive, exporting, services
from apps.audit.domain.signing import Signer
from apps.audit.models import AuditEvent, Checkpoint, Seal, Segment
from controlplane.kernel.actor import worker

log = structlog.get_logger(__name__)

LOCK = 0x5E63  # of PostgreSQL's advisory locks
LONGEST = timedelta(hours=1)  # that a checkpoint waits for its segment
MOST_EVENTS = 50_000


def write_due(folder: Path, *, signer: Signer, now: datetime) -> Segment | None:
    """Write the next segment if it is time; it ends with a checkpoint.

    A crash leaves at most a file that the next pass writes again under the same name.
    """
    with transaction.atomic():
        if not _lock():
            return None
        first = (Segment.objects.aggregate(last=Max("last"))["last"] or 0) + 1
        last = _end_of_next(first, now)
        return _write(folder, signer, now, first, last) if last else None


def drop_expired(folder: Path, *, days: int, now: datetime) -> int:
    """Drop the oldest segment's events if all of them are older than `days`; return how many.

    They must lie in the folder, unchanged: otherwise they stay. The database holds the rule too.
    """
    segment = _oldest_here()
    if segment is None or not _expired(segment, now - timedelta(days=days)):
        return 0
    if not archive.intact(folder / segment.name, segment.sha256):
        log.warning("ledger.segment_missing", segment=segment.name, folder=str(folder))
        return 0
    return _drop(segment)


def _end_of_next(first: int, now: datetime) -> int | None:
    waiting = Checkpoint.objects.filter(position__gte=first).order_by("number")
    oldest = waiting.first()
    if oldest is None:
        return None
    last = waiting.filter(position__lt=first + MOST_EVENTS).aggregate(p=Max("position"))["p"]
    last = last or oldest.position
    full = last - first + 1 >= MOST_EVENTS or waiting.filter(position__gt=last).exists()
    return last if full or now - oldest.at >= LONGEST else None


def _write(folder: Path, signer: Signer, now: datetime, first: int, last: int) -> Segment:
    name = f"events-{first:012d}.jsonl"
    lines = exporting.whole(signer=signer, at=now, first=first, last=last)
    written = archive.write(folder / name, lines)
    return Segment.objects.create(
        first=first, last=last, at=now, name=name, sha256=written.sha256, size=written.size
    )


def _oldest_here() -> Segment | None:
    """Return the oldest segment whose events are in the database still."""
    begin = Seal.objects.aggregate(position=Min("position"))["position"]
    if begin is None:
        return None
    return Segment.objects.filter(last__gte=begin).order_by("first").first()


def _expired(segment: Segment, before: datetime) -> bool:
    """Return whether every event is older, and the chain goes on behind them."""
    within = AuditEvent.objects.filter(seal__position__range=(segment.first, segment.last))
    newest = within.aggregate(at=Max("at"))["at"]
    goes_on = Seal.objects.filter(position__gt=segment.last).exists()
    return newest is not None and newest < before and goes_on


@transaction.atomic
def _drop(segment: Segment) -> int:
    if not _lock():
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('modelyard.ledger_drop', %s, true)", [str(segment.last)])
        gone = Seal.objects.filter(position__lte=segment.last)
        oldest = gone.aggregate(at=Min("event__at"))["at"]
        AuditEvent.objects.filter(pk__in=gone.values("event_id")).delete()
        count, _ = gone.delete()
        cursor.execute("SELECT set_config('modelyard.ledger_drop', '', true)")
    services.record(
        actor=worker("ledger"),
        verb="audit.drop",
        target=f"ledger/{segment.name}",
        subject=f"{count:,} entries up to #{segment.last:,}",
        before={"oldest": oldest.isoformat()},
        after={"segment": segment.name, "sha256": segment.sha256, "last": segment.last},
        reason="They are older than the ledger keeps in the database, and lie in the segment.",
    )
    return count


def _lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])
