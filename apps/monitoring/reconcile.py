"""From the proxy's counters to windows of time, for every revision at once.

1. Read all counters, outside any transaction.
2. Under one lock: take the differences to what was counted last, add them to windows, and
   remember what was counted. Both are written together or not at all, so nothing is counted
   twice and nothing is lost when a worker dies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from apps.endpoints import selectors as endpoints
from apps.monitoring.domain import histogram, windows
from apps.monitoring.domain.windows import Counts, Span
from apps.monitoring.models import (
    FeedbackSeen,
    FeedbackSender,
    FeedbackWindow,
    LastReading,
    TrafficCounter,
    TrafficWindow,
)
from apps.monitoring.ports import Reading, TrafficMeter
from controlplane.db.live import announce_all
from controlplane.db.upsert import upsert

KEPT = timedelta(hours=24)
FEEDBACK_KEPT = timedelta(days=30)
SEEN_KEPT = timedelta(days=7)  # an outcome that is sent again later than this counts again
LOCK = 0x7261666669  # any number of our own
SAME_RUN = timedelta(seconds=5)  # how well the proxy's start is known
TIDY_AT_ONCE = 20_000  # rows


@dataclass(frozen=True)
class Measurer:
    """Reads the proxy into windows."""

    meter: TrafficMeter

    def __call__(self, now: datetime) -> int:
        """Read once, and return how many revisions had traffic."""
        reading = self.meter.read()
        with transaction.atomic():
            if not _locked():
                return 0  # somebody else is at it
            return _take(reading, now)


def tidy(now: datetime) -> int:
    """Drop traffic older than a day and feedback older than a month; return how many rows."""
    old = (
        TrafficWindow.objects.filter(starts_at__lt=now - KEPT),
        FeedbackWindow.objects.filter(starts_at__lt=now - FEEDBACK_KEPT),
        FeedbackSeen.objects.filter(seen_at__lt=now - SEEN_KEPT),
        FeedbackSender.objects.filter(day__lt=(now - SEEN_KEPT).date()),
    )
    return sum(_drop(rows) for rows in old)


def _drop(rows: QuerySet[Any]) -> int:
    some = rows.values("pk")[:TIDY_AT_ONCE]
    return rows.model.objects.filter(pk__in=some).delete()[0]  # type: ignore[no-any-return]


def _locked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


@dataclass(frozen=True)
class _News:
    """What came to one revision."""

    revision: int
    endpoint: str
    span: Span
    counts: Counts


def _take(reading: Reading, now: datetime) -> int:
    last_read = _last_read()
    if last_read is not None and windows.is_overtaken(now, last_read):
        return 0
    LastReading.objects.update_or_create(pk=1, defaults={"read_at": now})
    span = windows.span(now, last_read)
    revisions = endpoints.revision_ids(reading.counts)
    before = TrafficCounter.objects.in_bulk(list(revisions.values()), field_name="revision_id")
    news, counters = [], []
    for key, counts in reading.counts.items():
        revision = revisions.get(key)
        if revision is None:
            continue
        last = before.get(revision)
        came = windows.difference(counts, _counted(last, reading))
        if last is None or came.requests or not _same_run(last, reading):
            counters.append(_counter(revision, counts, reading))
        if came.requests:
            news.append(_News(revision, key[0], span, came))
    _remember(counters)
    _add(news)
    announce_all({f"endpoint/{n.endpoint}" for n in news}, hint="traffic")
    return len(news)


def _same_run(last: TrafficCounter, reading: Reading) -> bool:
    return abs(last.started_at - reading.started_at) <= SAME_RUN


def _counted(last: TrafficCounter | None, reading: Reading) -> Counts | None:
    if last is None or not _same_run(last, reading):
        return None
    return Counts(last.requests, last.errors_4xx, last.errors_5xx, tuple(last.latency))


def _last_read() -> datetime | None:
    return LastReading.objects.filter(pk=1).values_list("read_at", flat=True).first()


def _counter(revision: int, counts: Counts, reading: Reading) -> tuple[Any, ...]:
    return (
        revision, reading.started_at, counts.requests, counts.errors_4xx, counts.errors_5xx,
        list(counts.latency or histogram.empty()),
    )  # fmt: skip


def _remember(counters: list[tuple[Any, ...]]) -> None:
    columns = ("revision_id", "started_at", "requests", "errors_4xx", "errors_5xx", "latency")
    upsert(TrafficCounter, columns, counters, unique=["revision_id"])


def _add(news: Iterable[_News]) -> None:
    """Add what came to the windows it came in; a window that is there already grows."""
    listed = list(news)
    there = _windows(listed)
    rows = [_grown(n, there.get((n.revision, n.span.starts_at))) for n in listed]
    columns = ("revision_id", "starts_at", "seconds", "requests", "errors_4xx", "errors_5xx",
               "latency")  # fmt: skip
    upsert(TrafficWindow, columns, rows, unique=["revision_id", "starts_at"])


def _windows(news: list[_News]) -> Mapping[tuple[int, datetime], TrafficWindow]:
    rows = TrafficWindow.objects.filter(
        revision__in=[n.revision for n in news], starts_at__in={n.span.starts_at for n in news}
    )
    return {(row.revision_id, row.starts_at): row for row in rows}


def _grown(news: _News, row: TrafficWindow | None) -> tuple[Any, ...]:
    counts = news.counts
    return (
        news.revision,
        news.span.starts_at,
        max(news.span.seconds, row.seconds if row else 0),
        counts.requests + (row.requests if row else 0),
        counts.errors_4xx + (row.errors_4xx if row else 0),
        counts.errors_5xx + (row.errors_5xx if row else 0),
        histogram.merge([counts.latency, row.latency if row else []]),
    )
