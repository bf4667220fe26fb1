"""From what the proxy has counted to windows of time. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apps.monitoring.domain import histogram

WINDOW = timedelta(seconds=10)
GAP = timedelta(seconds=30)  # between two reads; what came in a longer one is told as one window
LONGEST = 32_000  # seconds that one window may claim


@dataclass(frozen=True)
class Counts:
    """Requests that one revision's servers got, by outcome, and how long they took.

    Attributes:
        requests: All of them.
        errors_4xx: Refused as the caller's fault.
        errors_5xx: Failed on our side, or not answered.
        latency: A histogram; see `histogram`.
    """

    requests: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    latency: tuple[int, ...] = ()


@dataclass(frozen=True)
class Span:
    """The window that a difference is told in."""

    starts_at: datetime
    seconds: int


def difference(now: Counts, before: Counts | None) -> Counts:
    """Return what came since `before`.

    A counter that is smaller than it was has begun anew: all that it shows is new.

    Args:
        now: What is counted.
        before: What was counted last, by the same run of the proxy; None for another run.
    """
    if before is None or now.requests < before.requests:
        return now
    return Counts(
        requests=now.requests - before.requests,
        errors_4xx=max(0, now.errors_4xx - before.errors_4xx),
        errors_5xx=max(0, now.errors_5xx - before.errors_5xx),
        latency=tuple(histogram.since(now.latency or histogram.empty(), before.latency)),
    )


def span(at: datetime, last_read: datetime | None) -> Span:
    """Return the window for what came between `last_read` and `at`."""
    if last_read is None or at - last_read <= GAP:
        return Span(floor(at), int(WINDOW.total_seconds()))
    begin = floor(last_read)
    return Span(begin, min(LONGEST, int((at - begin).total_seconds())))


def is_overtaken(at: datetime, last_read: datetime) -> bool:
    """Return whether a read at `at` was overtaken by one that was written down already.

    Its counters are older than what was counted, and its window may have been taken for
    complete. A clock that was set back by more than a moment is another matter: then it counts.
    """
    return timedelta(0) < last_read - at <= GAP


def floor(at: datetime) -> datetime:
    """Return the beginning of the window that `at` lies in."""
    seconds = int(WINDOW.total_seconds())
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)
