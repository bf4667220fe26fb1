"""The sealing pass: give every event its place in the chain, soon after it was committed.

Events are written inside other transactions, by many workers at once; a chain kept while they
write would make them wait for each other. So events are written as they come, and one pass at a
time seals them, in bulk:

1. Take the lock, or leave it to whoever holds it.
2. Read the end of the chain, and the events that have no seal.
3. Chain them in the order of their ids, and copy the seals in.

docs/decisions/0014-sealing-after-the-fact.md says what is protected when.
"""

from collections.abc import Iterator

from django.db import connection, transaction

from apps.audit.domain import chain
from apps.audit.models import AuditEvent, Seal
from apps.audit.selectors import event_values, unsealed

LOCK = 0x5EA1  # of PostgreSQL's advisory locks
BATCH = 5_000  # events a transaction


def seal(*, limit: int = 100_000) -> int:
    """Seal what is not sealed, unless another pass is at it, and return how many that were.

    Args:
        limit: About how many to seal before leaving the rest to the next pass.
    """
    sealed = 0
    while sealed < limit:
        batch = _seal_batch(thorough=False)
        sealed += batch
        if batch < BATCH:
            break
    return sealed


def seal_overlooked() -> int:
    """Look at every event, seal one batch of those without a seal, and return how many.

    For a transaction that stayed open while ten thousand other events were written.
    """
    return _seal_batch(thorough=True)


def head() -> chain.Link:
    """Return the end of the chain."""
    last = Seal.objects.order_by("-position").first()
    return chain.Link(last.position, last.previous, last.hash) if last else chain.START


@transaction.atomic
def _seal_batch(*, thorough: bool) -> int:
    if not _lock():
        return 0
    ids = unsealed(limit=BATCH, thorough=thorough)
    if ids:
        events = AuditEvent.objects.filter(pk__in=ids).order_by("id")
        _copy(_chained(head(), list(events)))
    return len(ids)


def _lock() -> bool:
    """Take the lock until the end of the transaction; False when somebody else has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _chained(link: chain.Link, events: list[AuditEvent]) -> Iterator[tuple[int, int, str, str]]:
    for event in events:
        link = chain.after(link, event_values(event))
        yield link.position, event.pk, link.previous, link.hash


def _copy(rows: Iterator[tuple[int, int, str, str]]) -> None:
    statement = "COPY audit_seal (position, event_id, previous, hash) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
