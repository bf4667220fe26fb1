"""Hard limits: what aborts a canary without statistics, at once. Pure.

Statistics ask whether the canary is worse than stable. These ask whether it is so bad that
somebody would be woken, or does not work at all, and answer within a look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from apps.analysis.domain.values import Slice

WINDOW = timedelta(minutes=1)
PAGE_BURN = 14.4  # times the error budget: 2 % of thirty days' in an hour pages (SRE Workbook)
DEFAULT_PAGE_SHARE = 0.1  # without an objective: one in ten
TIMES = 3.0  # as often as stable must the canary fail: a burst behind both sides hits both
MOST_PAGE_SHARE = 0.5  # a generous objective must not make this limit meaningless


@dataclass(frozen=True)
class Limits:
    """Beyond which a canary is aborted without further evidence.

    Attributes:
        page_share: Share of failed requests at which somebody would be paged.
        least_errors: Fewer than this many may be bad luck.
        most_restarts: Of the canary's processes since they were brought up; this many are a loop.
        ready_within: How long the canary may be not ready while it is meant to serve.
    """

    page_share: float = DEFAULT_PAGE_SHARE
    least_errors: int = 10
    most_restarts: int = 3
    ready_within: timedelta = timedelta(seconds=30)


@dataclass(frozen=True)
class Recent:
    """What was seen of the canary lately.

    Attributes:
        errors: Slices of failed requests; those that end in the last `WINDOW` count.
        restarts: Of the canary's processes since they were brought up.
        not_ready_for: Since when it is not ready, while it is meant to serve; zero when it is.
    """

    errors: Sequence[Slice] = ()
    restarts: int = 0
    not_ready_for: timedelta = timedelta()


def of_availability(availability: float | None) -> Limits:
    """Return the limits for an objective, or those without one."""
    if availability is None:
        return Limits()
    return Limits(page_share=min(PAGE_BURN * (1 - availability), MOST_PAGE_SHARE))


def hit(limits: Limits, recent: Recent) -> str | None:
    """Return the sentence of the limit that the canary has passed; None when there is none."""
    if recent.restarts >= limits.most_restarts:
        return (
            f"The canary's processes ended {recent.restarts} times, and {limits.most_restarts} "
            "are the limit: it keeps crashing."
        )
    if recent.not_ready_for > limits.ready_within:
        return (
            "The canary has not been ready for "
            f"{recent.not_ready_for.total_seconds():.0f} seconds, and "
            f"{limits.ready_within.total_seconds():.0f} are the limit."
        )
    return _failing(limits, recent.errors)


def _failing(limits: Limits, slices: Sequence[Slice]) -> str | None:
    """Return the sentence when the canary fails so often that it would page, and stable not."""
    if not slices:
        return None
    until = max(piece.at + timedelta(seconds=piece.seconds) for piece in slices)
    last = [piece for piece in slices if piece.at >= until - WINDOW]
    count, total = (sum(getattr(p.canary, n) for p in last) for n in ("count", "total"))
    other, failed = (sum(getattr(p.stable, n) for p in last) for n in ("count", "total"))
    if total < limits.least_errors or total <= limits.page_share * count:
        return None
    if other and failed / other * TIMES > total / count:
        return None  # both fail: not the canary's doing, and going back would not help
    return (
        f"The canary failed {total:.0f} of {count:.0f} requests in the last minute; more than "
        f"{limits.page_share:.1%} of them would page somebody, and stable does not fail like that."
    ).replace("%", " %")
