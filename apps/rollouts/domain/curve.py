"""Evidence over time as a drawing, and the split of requests as another. Numbers only. Pure.

Evidence is drawn on a logarithmic scale: it begins at 1, and each step up is as hard as the last.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

WIDE, HIGH = 1000, 128  # of the drawing, in its own units
TOP = 14  # where its highest line is
LOWEST, HIGHEST = 1e-2, 1e5  # what is beyond is drawn at the edge
LEAST, MOST = 0.1, 100.0  # what is always in the picture


@dataclass(frozen=True)
class Evidence:
    """What was known at one moment.

    Attributes:
        at: When.
        worse: The e-value of "worse".
        not_worse: The e-value of "not worse".
        step: Of the rollout; evidence of "not worse" begins anew with each.
    """

    at: datetime
    worse: float
    not_worse: float
    step: int


@dataclass(frozen=True)
class Tick:
    """A place on an axis and its words."""

    at: float
    words: str


@dataclass(frozen=True)
class Curve:
    """The drawing of one metric's evidence.

    Attributes:
        worse: The path of "worse".
        not_worse: The path of "not worse", broken at each step.
        worse_y: Where it ends.
        not_worse_y: Where it ends.
        end_x: Where both end, in percent.
        limits: Heights of the thresholds, with their words.
        rows: Heights of the grid's lines, with their words.
        columns: Places of times, in percent.
        steps: Where steps began, in percent.
        high: How high it is.
    """

    worse: str
    not_worse: str
    worse_y: float
    not_worse_y: float
    end_x: float
    limits: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    steps: tuple[float, ...]
    high: int = HIGH


@dataclass(frozen=True)
class Split:
    """The drawing of who gets how many requests.

    Attributes:
        canary: The area of the canary, up to now.
        ahead: The path of what is planned; "" where nothing is.
        now_x: Where now is, in percent.
        columns: Places of times, in percent.
        rows: Heights of the grid's lines.
    """

    canary: str
    ahead: str
    now_x: float
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    high: int = HIGH

    @property
    def now_units(self) -> float:
        """Return where now is, in the drawing's own units."""
        return self.now_x * WIDE / 100


@dataclass(frozen=True)
class Weight:
    """From when on how many percent of requests went to the canary."""

    at: datetime
    percent: int


def curve(
    looks: Sequence[Evidence],
    *,
    since: datetime,
    until: datetime,
    thresholds: Sequence[tuple[float, str]],
) -> Curve:
    """Return the drawing of a metric's evidence.

    Args:
        looks: Oldest first; none make an empty drawing.
        since: The left edge.
        until: The right edge.
        thresholds: From which value on something is proven, and what to write there.
    """
    values = [v for look in looks for v in (look.worse, look.not_worse)]
    reach = [*values, *(value for value, _ in thresholds), LEAST, MOST]
    low, high = _within(min(reach)), _within(max(reach) * 1.6)
    across = _Across(since, until)

    def y(value: float) -> float:
        share = (math.log(_within(value)) - math.log(low)) / (math.log(high) - math.log(low))
        return round(HIGH - share * (HIGH - TOP), 1)

    last = looks[-1] if looks else None
    return Curve(
        worse=_path([[(across.x(k.at), y(k.worse)) for k in looks]]),
        not_worse=_path(
            [[(across.x(k.at), y(k.not_worse)) for k in part] for part in _by_step(looks)]
        ),
        worse_y=y(last.worse) if last else HIGH,
        not_worse_y=y(last.not_worse) if last else HIGH,
        end_x=across.share(last.at) if last else 100.0,
        limits=tuple(Tick(y(value), said) for value, said in thresholds),
        rows=tuple(Tick(y(v), f"{v:g}") for v in _decades(low, high)),
        columns=across.ticks(),
        steps=tuple(across.share(part[0].at) for part in _by_step(looks)[1:]),
    )


def split(
    weights: Sequence[Weight],
    ahead: Sequence[tuple[timedelta, int]],
    *,
    since: datetime,
    now: datetime,
) -> Split:
    """Return the drawing of the split over time.

    Args:
        weights: As they were seen in force, oldest first.
        ahead: What is planned: after how long from now, how many percent.
        since: The left edge.
        now: Where the future begins.
    """
    past = now - since
    future = (ahead[-1][0] * 1.15 + past * 0.06) if ahead else timedelta(0)
    across = _Across(since, now + min(future, past * 0.6) if ahead else now)
    squeeze = min(1.0, (past * 0.6) / future) if ahead and future else 1.0

    def y(percent: int) -> float:
        return round(HIGH - percent / 100 * (HIGH - TOP), 1)

    at, now_x = 0, across.x(now)
    points: list[tuple[float, float]] = [(0.0, float(HIGH))]
    for weight in weights:
        x = across.x(weight.at)
        points += [(x, y(at)), (x, y(weight.percent))]
        at = weight.percent
    points += [(now_x, y(at)), (now_x, float(HIGH))]
    planned = [(now_x, y(at))]
    for after, percent in ahead:
        x = across.x(now + after * squeeze)
        planned += [(x, planned[-1][1]), (x, y(percent))]
    if ahead:
        planned.append((float(WIDE), planned[-1][1]))
    return Split(
        canary=f"{_path([points])} Z",
        ahead=_path([planned]) if ahead else "",
        now_x=across.share(now),
        columns=across.ticks(until=now),
        rows=(Tick(y(50), "50"), Tick(y(100), "100")),
    )


@dataclass(frozen=True)
class _Across:
    since: datetime
    until: datetime

    def share(self, at: datetime) -> float:
        """Return where a moment is, in percent."""
        whole = max((self.until - self.since).total_seconds(), 1.0)
        share = (at - self.since).total_seconds() / whole
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def x(self, at: datetime) -> float:
        return round(self.share(at) * WIDE / 100, 1)

    def ticks(self, until: datetime | None = None, count: int = 4) -> tuple[Tick, ...]:
        end = until or self.until
        whole = end - self.since
        moments = [self.since + whole * n / (count - 1) for n in range(count)]
        form = "%H:%M" if whole < timedelta(hours=20) else "%-d %b, %H:%M"
        form = form if whole < timedelta(days=4) else "%-d %b"
        form = "%H:%M:%S" if whole < timedelta(minutes=4) else form
        return tuple(Tick(self.share(m), m.strftime(form)) for m in moments)


def _by_step(looks: Sequence[Evidence]) -> list[list[Evidence]]:
    parts: list[list[Evidence]] = [[looks[0]]] if looks else []
    for before, after in pairwise(looks):
        if after.step != before.step:
            parts.append([])
        parts[-1].append(after)
    return parts


def _path(parts: Sequence[Sequence[tuple[float, float]]]) -> str:
    return " ".join(
        f"{'L' if place else 'M'}{x} {y}" for part in parts for place, (x, y) in enumerate(part)
    )


def _within(value: float) -> float:
    return min(max(value, LOWEST), HIGHEST) if math.isfinite(value) else HIGHEST


def _decades(low: float, high: float) -> list[float]:
    """Return the powers of ten that the axis names: every one, or every other of many."""
    found = [10.0**n for n in range(-3, 6) if low * 0.99 <= 10.0**n <= high * 1.01]
    return found if len(found) <= 4 else [v for v in found if round(math.log10(v)) % 2 == 0]
