"""From the proxy's counters to windows of time, for every revision at once.

1. Read all counters, outside any transaction.
2. Under one lock: take the differences to what was counted last, add them to windows, and
   remember what was counted. Both are written together or not at all, so nothing is counted
   twice and nothing is lost when a worker dies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

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
from controlplane.db.bulk import upsert
from controlplane.db.live import announce_all

KEPT = timedelta(hours=24)
FEEDBACK_KEPT = timedelta(days=30)
SEEN_KEPT = timedelta(days=7)  # an outcome that is sent again later than this counts again
LOCK = 0x7261666669  # any number of our own
SAME_RUN = timedelta(seconds=5)  # how well the proxy's start is known
TIDY_AT_ONCE = 20_000  # rows
COUNTS = ("requests", "errors_4xx", "errors_5xx", "latency")
COUNTER_COLUMNS = ("revision_id", "started_at", *COUNTS)
WINDOW_COLUMNS = ("revision_id", "starts_at", "seconds", *COUNTS)


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


class _Counted(NamedTuple):
    """What a proxy that started then had counted of one revision."""

    started_at: datetime
    counts: Counts


class _Window(NamedTuple):
    """What a window holds already."""

    seconds: int
    counts: Counts


def _take(reading: Reading, now: datetime) -> int:
    last_read = _last_read()
    if last_read is not None and windows.is_overtaken(now, last_read):
        return 0
    LastReading.objects.update_or_create(pk=1, defaults={"read_at": now})
    span = windows.span(now, last_read)
    revisions = endpoints.revision_ids(reading.counts)
    before = _counters(revisions.values())
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


def _counters(revisions: Iterable[int]) -> Mapping[int, "_Counted"]:
    """Return what was counted last, by revision; plain values, for there may be thousands."""
    rows = TrafficCounter.objects.filter(revision__in=list(revisions))
    return {
        revision: _Counted(started_at, Counts(requests, refused, failed, tuple(latency)))
        for revision, started_at, requests, refused, failed, latency in rows.values_list(
            *COUNTER_COLUMNS
        )
    }


def _same_run(last: _Counted, reading: Reading) -> bool:
    return abs(last.started_at - reading.started_at) <= SAME_RUN


def _counted(last: _Counted | None, reading: Reading) -> Counts | None:
    return last.counts if last is not None and _same_run(last, reading) else None


def _last_read() -> datetime | None:
    return LastReading.objects.filter(pk=1).values_list("read_at", flat=True).first()


def _counter(revision: int, counts: Counts, reading: Reading) -> tuple[Any, ...]:
    return (
        revision, reading.started_at, counts.requests, counts.errors_4xx, counts.errors_5xx,
        list(counts.latency or histogram.empty()),
    )  # fmt: skip


def _remember(counters: list[tuple[Any, ...]]) -> None:
    upsert(TrafficCounter, COUNTER_COLUMNS, counters, unique=["revision_id"])


def _add(news: Iterable[_News]) -> None:
    """Add what came to the windows it came in; a window that is there already grows."""
    listed = list(news)
    there = _windows(listed)
    rows = [_grown(n, there.get((n.revision, n.span.starts_at))) for n in listed]
    upsert(TrafficWindow, WINDOW_COLUMNS, rows, unique=["revision_id", "starts_at"])


def _windows(news: list[_News]) -> Mapping[tuple[int, datetime], _Window]:
    rows = TrafficWindow.objects.filter(
        revision__in=[n.revision for n in news], starts_at__in={n.span.starts_at for n in news}
    )
    return {
        (revision, starts_at): _Window(seconds, Counts(requests, refused, failed, tuple(latency)))
        for revision, starts_at, seconds, requests, refused, failed, latency in rows.values_list(
            *WINDOW_COLUMNS
        )
    }


def _grown(news: _News, there: _Window | None) -> tuple[Any, ...]:
    came = news.counts
    seconds, had = there or (0, Counts())
    return (
        news.revision,
        news.span.starts_at,
        max(news.span.seconds, seconds),
        came.requests + had.requests,
        came.errors_4xx + had.errors_4xx,
        came.errors_5xx + had.errors_5xx,
        histogram.merge([came.latency, had.latency]),
    )
