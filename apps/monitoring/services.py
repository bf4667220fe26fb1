"""A caller's one verb: telling what came of predictions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

import structlog
from django.db import connection, transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.endpoints import selectors as endpoints
from apps.endpoints.models import Endpoint
from apps.monitoring.domain import feedback, windows
from apps.monitoring.domain.feedback import Outcome
from apps.monitoring.models import FeedbackSender
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Transient
from controlplane.kernel.quantities import Tally

log = structlog.get_logger()

# A window must not get anything once it is taken for complete: half of `feedback.LATE` is for
# the work here, the other half for the commit and for clocks that differ.
LONGEST = feedback.LATE / 2

SEE = """
INSERT INTO "monitoring_feedbackseen" (endpoint_id, request_id, metric, seen_at)
SELECT %s, told.request_id, told.metric, %s
FROM unnest(%s::varchar[], %s::varchar[]) AS told(request_id, metric)
ON CONFLICT (endpoint_id, request_id, metric) DO NOTHING
RETURNING request_id, metric
"""
ADD = """
INSERT INTO "monitoring_feedbackwindow" AS was
    (revision_id, metric, segment, starts_at, count, total, squares)
SELECT came.revision_id, came.metric, came.segment, %s, came.count, came.total, came.squares
FROM unnest(%s::bigint[], %s::varchar[], %s::varchar[], %s::float8[], %s::float8[], %s::float8[])
    AS came(revision_id, metric, segment, count, total, squares)
ON CONFLICT (revision_id, metric, starts_at, segment) DO UPDATE SET
    count = was.count + excluded.count,
    total = was.total + excluded.total,
    squares = was.squares + excluded.squares
"""


@dataclass(frozen=True)
class FeedbackTaken:
    """What came of telling outcomes.

    Attributes:
        taken: How many were counted.
        repeated: How many had been told before, and were not counted again.
        unknown: How many named a revision that the endpoint never had.
        unknown_revisions: Those numbers.
    """

    taken: int
    repeated: int
    unknown: int
    unknown_revisions: tuple[int, ...] = ()


@transaction.atomic
def record_feedback(
    *, actor: Actor, endpoint: str, items: Sequence[Outcome], now: datetime
) -> FeedbackTaken:
    """Count what callers tell of an endpoint's predictions, each metric of each request once.

    Of the same metric of the same request the first that comes counts; it is remembered for
    seven days. The number of statements does not grow with the number of items. What is told is
    measurement: the ledger says once a day who tells it, not each time.

    Args:
        actor: Who tells.
        endpoint: Its public id.
        items: At most `feedback.MOST_ITEMS`.
        now: When they arrived; the window that they are counted in.

    Raises:
        Denied: The actor may not.
        Missing: There is no such endpoint.
        Invalid: An item is wrong; the field names it. Nothing was counted.
        Transient: The database took so long that the window is closed. Nothing was counted.
    """
    began = monotonic()
    row = endpoints.endpoint(actor, endpoint)
    access.require(
        actor, "monitoring.feedback", team=row.model.team.slug, environment=row.environment.slug
    )
    feedback.check(items, now=now)
    numbers = {item.revision for item in items}
    found = endpoints.revision_ids((row.public_id, number) for number in numbers)
    revisions = {number: pk for (_, number), pk in found.items()}
    known = [item for item in items if item.revision in revisions]
    fresh = _fresh(row, known, now)
    _add(feedback.sums(fresh), revisions, now)
    _say_who(actor, row, now)
    _refuse_late(began)
    taken = FeedbackTaken(
        taken=len(fresh),
        repeated=len(known) - len(fresh),
        unknown=len(items) - len(known),
        unknown_revisions=tuple(sorted(numbers - revisions.keys())),
    )
    log.info("feedback.taken", endpoint=row.public_id, actor=actor.name, taken=taken.taken)
    return taken


def _fresh(row: Endpoint, items: Sequence[Outcome], now: datetime) -> Collection[Outcome]:
    """Return the outcomes that were never told before, and remember them."""
    by_key = feedback.first_of_each(items)
    if not by_key:
        return ()
    requests, metrics = zip(*by_key, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(SEE, [row.pk, now, list(requests), list(metrics)])
        return [by_key[request, metric] for request, metric in cursor.fetchall()]


def _add(
    came: Mapping[tuple[int, str, str], Tally], revisions: Mapping[int, int], now: datetime
) -> None:
    """Add sums to the windows that are filling; a window that is there already grows."""
    if not came:
        return
    numbers, metrics, segments = zip(*came, strict=True)
    tallies = came.values()
    columns = [
        [revisions[number] for number in numbers],
        list(metrics),
        list(segments),
        [tally.count for tally in tallies],
        [tally.total for tally in tallies],
        [tally.squares for tally in tallies],
    ]
    with connection.cursor() as cursor:
        cursor.execute(ADD, [windows.floor(now), *columns])


def _say_who(actor: Actor, row: Endpoint, now: datetime) -> None:
    """Enter into the ledger that the actor tells of this endpoint, once a day."""
    who = f"{actor.kind}:{actor.name}"[:210]
    if not FeedbackSender.objects.get_or_create(endpoint=row, actor=who, day=now.date())[1]:
        return
    audit.record(
        actor=actor,
        verb="monitoring.feedback",
        target=f"endpoint/{row.public_id}",
        subject=f"{row.name} in {row.environment.slug}",
        after={"day": now.date().isoformat()},
    )


def _refuse_late(began: float) -> None:
    if timedelta(seconds=monotonic() - began) > LONGEST:
        raise Transient(
            "The outcomes took too long to count, and were not counted.",
            remedy="Send them again; nothing is counted twice.",
            code="feedback.too_slow",
        )
