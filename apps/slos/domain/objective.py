"""What an objective means, in numbers. Pure."""

import math
from dataclasses import dataclass

from controlplane.kernel.errors import Invalid

HEADROOM = 1.5  # a load test asks for the expected peak and half as much again
MOST_DAYS = 90  # longer windows forgive a bad week for a quarter of a year
HIGHEST_SHARE = 0.999999  # one bad request in a million; nobody can measure better here
SLOWEST_MS = 600_000.0
MOST_RPS = 1_000_000.0


@dataclass(frozen=True)
class Objective:
    """What callers may expect, and how much they will ask.

    Attributes:
        availability: Share of requests that are answered, in (0, 1).
        latency_ms: A request counts as fast when it takes no longer.
        latency_share: Share of requests that are fast, in (0, 1).
        window_days: Over how many days the shares are counted.
        expected_peak_rps: Requests per second in the busiest minute that is expected.
    """

    availability: float
    latency_ms: float
    latency_share: float
    window_days: int
    expected_peak_rps: float

    @property
    def allowed_bad_share(self) -> float:
        """Return the share of requests that may fail: the error budget."""
        return 1 - self.availability

    @property
    def allowed_slow_share(self) -> float:
        """Return the share of requests that may be slow."""
        return 1 - self.latency_share

    @property
    def test_rps(self) -> float:
        """Return the rate that a load test has to hold: the expected peak with headroom."""
        return self.expected_peak_rps * HEADROOM

    @property
    def allowed_down_minutes(self) -> float:
        """Return for how many minutes of the window everything may fail."""
        return self.allowed_bad_share * self.window_days * 24 * 60


def availability_is_met(objective: Objective, *, good: int, total: int) -> bool | None:
    """Return whether enough requests were answered; None without any: silence is not health."""
    return None if total <= 0 else good / total >= objective.availability


def latency_is_met(objective: Objective, *, fast: int, total: int) -> bool | None:
    """Return whether enough requests took at most `latency_ms`; None without any."""
    return None if total <= 0 else fast / total >= objective.latency_share


def quantile_is_within(objective: Objective, latency_ms: float | None) -> bool | None:
    """Return whether a measured latency (a p95, or the one of `latency_share`) is fast enough.

    Args:
        objective: What was promised.
        latency_ms: As measured; None when nothing was, which answers None.
    """
    if latency_ms is None or math.isnan(latency_ms):
        return None
    return latency_ms <= objective.latency_ms


def check(objective: Objective) -> Objective:
    """Return `objective` if every number of it makes sense.

    Raises:
        Invalid: With the field and its bounds; the code is `slos.bad_objective`.
    """
    _share("availability", objective.availability, "Three nines are 0.999.")
    _share("latency_share", objective.latency_share, "For 99 of 100 requests write 0.99.")
    _number("latency_ms", objective.latency_ms, SLOWEST_MS, "milliseconds")
    _number("expected_peak_rps", objective.expected_peak_rps, MOST_RPS, "requests per second")
    if not 1 <= objective.window_days <= MOST_DAYS:
        raise _bad(
            "window_days",
            f"window_days is {objective.window_days}; it is a number of days "
            f"from 1 to {MOST_DAYS}.",
            "Four whole weeks, 28, are usual.",
        )
    return objective


def _share(field: str, value: float, hint: str) -> None:
    if not 0 < value <= HIGHEST_SHARE:
        shown = "100 %" if value == 1 else f"{value:g}"
        raise _bad(
            field,
            f"{field} is {shown}; it is a share above 0 and at most {HIGHEST_SHARE}.",
            f"{hint} Nothing is always good: all of it leaves no budget for any change.",
        )


def _number(field: str, value: float, highest: float, unit: str) -> None:
    if not 0 < value <= highest:
        raise _bad(
            field,
            f"{field} is {value:g}; it is above 0 and at most {highest:g} {unit}.",
            "Look at what is live now, and write what callers need.",
        )


def _bad(field: str, sentence: str, remedy: str) -> Invalid:
    return Invalid(sentence, remedy=remedy, field=field, code="slos.bad_objective")
