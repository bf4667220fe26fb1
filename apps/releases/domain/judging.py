"""What the difference of two numbers means: better, worse, nobody can tell. Pure.

An interval that holds zero is no difference. A difference without an interval is a number, not a
finding: it says so, and takes the tone of what is unknown.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from math import hypot

from controlplane.kernel.figures import THIN, rounded

ABOUT_THE_SAME = 0.05  # share: two runs of one benchmark differ by as much
TWICE = 2.0  # from here on "2.4 times", before it "38 %"
SMALLER_IS_BETTER = re.compile(
    r"loss|error|(^|[_\W])(m?[ars]{1,2}m?se|mae|mape|smape|ece|brier|wer|cer|fpr|fnr|perplexity)"
    r"|false|miss(ed|_rate)|drift|latency|_ms$"
)
LARGER_IS_BETTER = re.compile(
    r"auc|accuracy|acc([_\W]|$)|f1|f_?beta|precision|recall|r2|r_squared|(^|[_\W])m?ap([_\W]|$)"
    r"|mcc|kappa|agreement|ndcg|hit|coverage|bleu|rouge|iou|dice|gini|(^|[_\W])ks([_\W]|$)|score"
)


class Tone(StrEnum):
    """What a difference means for whoever decides."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "none"  # no difference, or one that is neither
    UNKNOWN = "unknown"


class Direction(StrEnum):
    """Which way a number improves."""

    UP = "up"
    DOWN = "down"
    NEITHER = "neither"  # nobody said


@dataclass(frozen=True)
class Measured:
    """A number, with the interval that is known of it.

    Attributes:
        value: The number.
        low: The lower end of its 95 % interval; None without one.
        high: The upper end.
        source: Who says so ("evidence from CI, 18 Nov").
    """

    value: float
    low: float | None = None
    high: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Span:
    """A difference, proposed minus live, with its interval."""

    low: float
    point: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Return whether no difference at all is inside."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Judged:
    """What came of comparing two numbers."""

    tone: Tone
    meaning: str
    span: Span | None = None


def direction_of(metric: str) -> Direction:
    """Return which way a metric improves, by its name."""
    name = metric.lower()
    if SMALLER_IS_BETTER.search(name):
        return Direction.DOWN
    return Direction.UP if LARGER_IS_BETTER.search(name) else Direction.NEITHER


def span_of(live: Measured, proposed: Measured) -> Span | None:
    """Return the interval of the difference of two estimates; None where one has none.

    The distances are added as if both were measured on different data (Newcombe's method,
    also called MOVER). On the same data the true interval is narrower, so this errs towards
    "no clear difference".
    """
    if live.low is None or live.high is None or proposed.low is None or proposed.high is None:
        return None
    point = proposed.value - live.value
    below = hypot(proposed.value - proposed.low, live.high - live.value)
    above = hypot(proposed.high - proposed.value, live.value - live.low)
    return Span(point - below, point, point + above)


def judge_metric(name: str, live: Measured, proposed: Measured) -> Judged:
    """Return what the difference of a metric means."""
    by = proposed.value - live.value
    span = span_of(live, proposed)
    if by == 0 and span is None:
        return Judged(Tone.SAME, "The same")
    if span is None:
        higher = "higher" if by > 0 else "lower"
        return Judged(
            Tone.UNKNOWN,
            f"{rounded(abs(by)).capitalize()} {higher}. Without an interval it may be chance.",
        )
    if span.holds_zero:
        return Judged(Tone.SAME, "No clear difference", span)
    return Judged(_tone(by, direction_of(name)), _clearly(by, direction_of(name)), span)


def judge_ratio(
    live: float | None,
    proposed: float | None,
    *,
    direction: Direction,
    more: str = "more",
    less: str = "less",
) -> Judged:
    """Return what the ratio of two measurements means.

    Args:
        live: What is live; None when it was not measured.
        proposed: What is proposed; None when it was not measured.
        direction: Which way it improves.
        more: The word for a larger number ("slower").
        less: The word for a smaller number ("faster").
    """
    if proposed is None:
        return Judged(Tone.UNKNOWN, "Not measured")
    if live is None:
        return Judged(Tone.UNKNOWN, "Nothing to compare with: what is live was not measured")
    if live == proposed:
        return Judged(Tone.SAME, "The same")
    if live <= 0 or proposed <= 0:
        return Judged(_tone(proposed - live, direction), more if proposed > live else less)
    share = abs(proposed - live) / live
    if share < ABOUT_THE_SAME:
        return Judged(Tone.SAME, "About the same")
    word = more if proposed > live else less
    return Judged(_tone(proposed - live, direction), f"{_factor(live, proposed)} {word}")


def _factor(live: float, proposed: float) -> str:
    times = max(live, proposed) / min(live, proposed)
    if times >= TWICE:
        return f"{rounded(times, 2)} times"
    return f"{rounded(abs(proposed - live) / live * 100, 2)}{THIN}%"


def _tone(by: float, direction: Direction) -> Tone:
    if direction is Direction.NEITHER:
        return Tone.SAME
    return Tone.BETTER if (by > 0) is (direction is Direction.UP) else Tone.WORSE


def _clearly(by: float, direction: Direction) -> str:
    if direction is Direction.NEITHER:
        return f"{'Higher' if by > 0 else 'Lower'} by {rounded(abs(by))}"
    better = (by > 0) is (direction is Direction.UP)
    return f"{'Better' if better else 'Worse'} by {rounded(abs(by))}"
