"""Reading what revisions did. Silence is None, never 0: no request is no evidence of speed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet, Sum

from apps.accounts.domain import access
from apps.endpoints.models import Endpoint
from apps.monitoring.domain import feedback, histogram, windows
from apps.monitoring.models import FeedbackWindow, LastReading, TrafficWindow
from controlplane.kernel.actor import Actor
from controlplane.kernel.quantities import Tally

LONGEST = timedelta(hours=24)
CURRENT = timedelta(minutes=1)
MOST_POINTS = 180  # of a series; more windows than that are merged


@dataclass(frozen=True)
class Point:
    """What one revision did in one span of time; all None when no request came."""

    at: datetime
    requests: int | None
    requests_per_second: float | None
    errors: float | None  # share of requests that failed on our side, 0-1
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Series:
    """What one revision did over time, and over all of it."""

    revision: int
    points: tuple[Point, ...]
    total: Point


@dataclass(frozen=True)
class Traffic:
    """What an endpoint's revisions did.

    Attributes:
        since: The beginning of the first point.
        until: The end of the last.
        step: Seconds from point to point.
        series: By revision, the newest first; one that had no request is not there.
        total: All revisions together.
    """

    since: datetime
    until: datetime
    step: int
    series: tuple[Series, ...]
    total: Point


@dataclass(frozen=True)
class Lately:
    """What one endpoint did lately.

    Attributes:
        total: All of it.
        current: Requests per second in the last minute; None when none came.
        line: Requests per second, step by step.
    """

    total: Point
    current: float | None
    line: tuple[float | None, ...]


class TrafficSlice(NamedTuple):
    """What one revision did in one window.

    Attributes:
        revision: The revision's row id.
        starts_at: When the window begins.
        seconds: How long it is; more than ten when nobody measured for a while.
        requests: All of them.
        errors_4xx: Refused as the caller's fault.
        errors_5xx: Failed on our side, or not answered.
        latency: A histogram; see `histogram`.
    """

    revision: int
    starts_at: datetime
    seconds: int
    requests: int
    errors_4xx: int
    errors_5xx: int
    latency: tuple[int, ...]


class FeedbackSlice(NamedTuple):
    """What callers told of one revision in one window, by arrival.

    Attributes:
        revision: The revision's row id.
        starts_at: When the window begins.
        segment: Of which segment; "" for what was told of none. Nothing stands in two segments,
            so the sum over segments is the whole.
        tally: The outcomes, summed.
    """

    revision: int
    starts_at: datetime
    segment: str
    tally: Tally


def traffic(
    actor: Actor,
    endpoint: Endpoint,
    *,
    minutes: int,
    now: datetime,
    totals_since: datetime | None = None,
) -> Traffic:
    """Return what an endpoint's revisions did in the last `minutes`, by one query.

    Args:
        actor: Who looks.
        endpoint: With its model and team.
        minutes: 1 to 1,440.
        now: The end; the window that is still filling is left out.
        totals_since: From when on the totals count; None for all that the points show.
    """
    access.require(actor, "monitoring.read", team=endpoint.model.team.slug)
    until = windows.floor(now)
    since = until - min(timedelta(minutes=max(1, minutes)), LONGEST)
    step = _step(since, until)
    counted = since if totals_since is None else max(since, windows.floor(totals_since))
    by_revision = _by_revision(endpoint, since, until)
    series = tuple(
        Series(number, tuple(_points(rows, since, until, step)), _total(rows, counted, until))
        for number, rows in sorted(by_revision.items(), reverse=True)
    )
    everything = [row for rows in by_revision.values() for row in rows]
    return Traffic(since, until, step, series, _total(everything, counted, until))


def summaries(
    actor: Actor, endpoints: Iterable[Endpoint], *, minutes: int, now: datetime
) -> dict[int, Point]:
    """Return what each of many endpoints did lately, by row id, by one query for all.

    An endpoint without a request is there too, with None everywhere.
    """
    access.require(actor, "monitoring.read")
    until = windows.floor(now)
    since = until - timedelta(minutes=minutes)
    ids = [e.pk for e in endpoints]
    found: dict[int, list[TrafficWindow]] = {pk: [] for pk in ids}
    rows = _windows(since, until).filter(revision__endpoint__in=ids).select_related("revision")
    for row in rows:
        found[row.revision.endpoint_id].append(row)
    return {pk: _merged(listed, since, until) for pk, listed in found.items()}


def lately(
    actor: Actor, endpoints: Iterable[Endpoint], *, minutes: int, now: datetime, steps: int = 30
) -> dict[int, Lately]:
    """Return what each of many endpoints did, by row id, by one query for all.

    An endpoint without a request is there too, with None everywhere.

    Args:
        actor: Who looks.
        endpoints: Rows.
        minutes: How far back.
        now: The end; the window that is still filling is left out.
        steps: How many points a line has at most.
    """
    access.require(actor, "monitoring.read")
    until = windows.floor(now)
    since = until - timedelta(minutes=minutes)
    found: dict[int, list[TrafficWindow]] = {e.pk: [] for e in endpoints}
    rows = _windows(since, until).filter(revision__endpoint__in=list(found))
    for row in rows.select_related("revision").order_by("starts_at", "id"):
        found[row.revision.endpoint_id].append(row)
    window = int(windows.WINDOW.total_seconds())
    step = window * max(1, -(-minutes * 60 // (window * steps)))
    return {
        pk: Lately(
            _merged(listed, since, until),
            _merged(
                [row for row in listed if row.starts_at >= until - CURRENT], until - CURRENT, until
            ).requests_per_second,
            tuple(p.requests_per_second for p in _points(listed, since, until, step)),
        )
        for pk, listed in found.items()
    }


def sparkline(traffic: Traffic) -> list[float | None]:
    """Return the requests per second of all revisions together, point by point."""
    columns = zip(*(s.points for s in traffic.series), strict=True) if traffic.series else ()
    return [
        None if all(p.requests is None for p in column)
        else sum(p.requests_per_second or 0 for p in column)
        for column in columns
    ]  # fmt: skip


def measured_until(now: datetime) -> datetime | None:
    """Return the end of the last window of traffic that will never grow again.

    That is the beginning of the window in which the proxy was last read: whatever comes later is
    told in that one or in a later one. None when the proxy was never read. For workers: no actor
    is asked.
    """
    read_at = LastReading.objects.filter(pk=1).values_list("read_at", flat=True).first()
    return None if read_at is None else windows.floor(min(read_at, now))


def told_until(now: datetime) -> datetime:
    """Return the end of the last window of feedback that will never grow again.

    Feedback that was on its way into a window when the window ended is counted, or refused,
    within `feedback.LATE`. For workers: no actor is asked.
    """
    return windows.floor(now - feedback.LATE)


def traffic_windows(
    revisions: Collection[int], *, after: datetime, until: datetime
) -> list[TrafficSlice]:
    """Return what revisions did, window by window, by one query. For workers: no actor is asked.

    Whoever goes on at `after` = the last `until`, and takes `until` from `measured_until`, reads
    every window exactly once.

    Args:
        revisions: Row ids.
        after: The first window begins then, or later.
        until: The last window begins before.

    Returns:
        By time, then by revision; a window without a request is not there.
    """
    rows = _windows(after, until).filter(revision__in=revisions)
    columns = ("revision_id", "starts_at", "seconds", "requests", "errors_4xx", "errors_5xx",
               "latency")  # fmt: skip
    return [
        TrafficSlice(revision, starts_at, seconds, requests, refused, errors, tuple(latency))
        for revision, starts_at, seconds, requests, refused, errors, latency in rows.order_by(
            "starts_at", "revision_id"
        ).values_list(*columns)
    ]


def feedback_totals(
    revisions: Collection[int], metric: str, *, after: datetime, until: datetime
) -> dict[tuple[int, str], Tally]:
    """Return all that callers told of revisions, by revision and segment, by one query.

    For workers: no actor is asked. See `feedback_windows` for the arguments.
    """
    rows = FeedbackWindow.objects.filter(
        revision__in=revisions, metric=metric, starts_at__gte=after, starts_at__lt=until
    ).values_list("revision_id", "segment")
    summed = rows.annotate(Sum("count"), Sum("total"), Sum("squares")).order_by()
    return {(revision, segment): Tally(*sums) for revision, segment, *sums in summed}


def feedback_windows(
    revisions: Collection[int], metric: str, *, after: datetime, until: datetime
) -> list[FeedbackSlice]:
    """Return what callers told of revisions, by one query. For workers: no actor is asked.

    Whoever goes on at `after` = the last `until`, and takes `until` from `told_until`, reads
    every window exactly once.

    Args:
        revisions: Row ids.
        metric: Its slug.
        after: The first window begins then, or later; by arrival.
        until: The last window begins before.

    Returns:
        By time, then by revision and segment.
    """
    rows = FeedbackWindow.objects.filter(
        revision__in=revisions, metric=metric, starts_at__gte=after, starts_at__lt=until
    ).order_by("starts_at", "revision_id", "segment")
    columns = ("revision_id", "starts_at", "segment", "count", "total", "squares")
    return [
        FeedbackSlice(revision, starts_at, segment, Tally(*sums))
        for revision, starts_at, segment, *sums in rows.values_list(*columns)
    ]


def _windows(since: datetime, until: datetime) -> QuerySet[TrafficWindow]:
    return TrafficWindow.objects.filter(starts_at__gte=since, starts_at__lt=until)


def _by_revision(
    endpoint: Endpoint, since: datetime, until: datetime
) -> Mapping[int, list[TrafficWindow]]:
    rows = _windows(since, until).filter(revision__endpoint=endpoint).select_related("revision")
    found: dict[int, list[TrafficWindow]] = {}
    for row in rows.order_by("starts_at", "id"):
        found.setdefault(row.revision.number, []).append(row)
    return found


def _step(since: datetime, until: datetime) -> int:
    """Return seconds from point to point: whole windows, and not too many points."""
    window = int(windows.WINDOW.total_seconds())
    total = int((until - since).total_seconds())
    return window * -(-total // (window * MOST_POINTS))


def _points(
    rows: Sequence[TrafficWindow], since: datetime, until: datetime, step: int
) -> Iterable[Point]:
    cells: dict[int, list[TrafficWindow]] = {}
    for row in rows:
        cells.setdefault(int((row.starts_at - since).total_seconds()) // step, []).append(row)
    width = timedelta(seconds=step)
    for index in range(-(-int((until - since).total_seconds()) // step)):
        begin = since + index * width
        yield _merged(cells.get(index, []), begin, min(begin + width, until))


def _total(rows: Sequence[TrafficWindow], since: datetime, until: datetime) -> Point:
    return _merged([row for row in rows if row.starts_at >= since], since, until)


def _merged(rows: Sequence[TrafficWindow], since: datetime, until: datetime) -> Point:
    requests = sum(row.requests for row in rows)
    if not requests:
        return Point(since, None, None, None, None, None, None)
    # A window may tell of more time than a point covers, when nobody measured for a while.
    seconds = max((until - since).total_seconds(), *(row.seconds for row in rows))
    latency = histogram.merge(row.latency for row in rows)
    return Point(
        at=since,
        requests=requests,
        requests_per_second=requests / seconds,
        errors=sum(row.errors_5xx for row in rows) / requests,
        p50_ms=histogram.percentile(latency, 0.5),
        p95_ms=histogram.percentile(latency, 0.95),
        p99_ms=histogram.percentile(latency, 0.99),
    )
