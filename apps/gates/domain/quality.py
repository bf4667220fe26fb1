"""Whether a version is better than what is live and than a simple baseline, with intervals. Pure.

Evidence comes from a pipeline, as `Reported` values read by `parse`. Two numbers are compared by
their intervals: better only when they do not overlap, worse only when they do not overlap the
other way, and otherwise not known. A number without an interval proves nothing. Where a pipeline
can compare both models row by row, it sends the interval of the difference, which decides instead.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from apps.gates.domain.finding import Finding, Verdict
from controlplane.kernel.errors import Invalid

MOST_METRICS, MOST_SLICES = 50, 500
EXAMPLE = (
    '{"live_version": 41, "metrics": [{"metric": "auc", "value": 0.971, "low": 0.968, "high": '
    '0.974, "baseline": 0.91, "live": {"value": 0.962, "low": 0.959, "high": 0.965}, "slices": '
    '[{"name": "new customers", "value": 0.95, "low": 0.94, "high": 0.96, "live": 0.93}]}]}'
)


@dataclass(frozen=True)
class Estimate:
    """A number and the interval that holds it; low = high = None for a bare number."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the interval; None for a bare number."""
        return (self.low, self.high) if self.low is not None and self.high is not None else None

    def __str__(self) -> str:
        """Say it with its interval."""
        if self.interval is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Measure:
    """One metric, on everything or on one slice.

    Attributes:
        name: The metric's, or the slice's.
        value: Of the version.
        baseline: Of a simple baseline on the same rows.
        live: Of the version that is live, on the same rows.
        gain: Version minus live, row by row, where the pipeline compared them so.
        higher_is_better: False for an error or a loss.
        slices: The same metric on parts of the rows.
    """

    name: str
    value: Estimate
    baseline: Estimate | None = None
    live: Estimate | None = None
    gain: Estimate | None = None
    higher_is_better: bool = True
    slices: tuple["Measure", ...] = ()


@dataclass(frozen=True)
class Reported:
    """What a pipeline reported.

    Attributes:
        metrics: By name.
        live_version: The number of the version that was taken for the live one.
    """

    metrics: tuple[Measure, ...]
    live_version: int | None = None


@dataclass(frozen=True)
class Demand:
    """What a policy asks for.

    Attributes:
        metrics: Which must be better; empty for every one that was reported.
        margin: How much worse than the live version still counts as good enough, in the metric's
            own unit: 0 asks for better.
        slices: Whether slices must be reported.
        live_version: The number of the version that is live now; None when none is.
    """

    metrics: tuple[str, ...] = ()
    margin: float = 0.0
    slices: bool = True
    live_version: int | None = None


@dataclass(frozen=True)
class _Said:
    """One comparison and what came of it."""

    verdict: Verdict
    sentence: str


def parse(facts: object) -> Reported:
    """Return what a pipeline sent; one metric may stand without a list around it.

    Raises:
        Invalid: Something is missing, no number, or an interval that does not hold its value.
    """
    top = _mapping(facts, "facts")
    listed = top.get("metrics", [top] if "metric" in top else None)
    if not isinstance(listed, list) or not listed:
        _refuse("facts.metrics", "is missing or empty")
    if len(listed) > MOST_METRICS:
        _refuse("facts.metrics", f"has more than {MOST_METRICS} entries")
    live = top.get("live_version")
    if live is not None and (isinstance(live, bool) or not isinstance(live, int)):
        _refuse("facts.live_version", "is not a version's number")
    return Reported(
        metrics=tuple(
            _measure(entry, f"facts.metrics[{n}]", "metric") for n, entry in enumerate(listed)
        ),
        live_version=live,
    )


def judge(reported: Reported, demand: Demand) -> Finding:
    """Return whether what was reported is what a policy asks for."""
    chosen = {m.name: m for m in reported.metrics}
    missing = [name for name in demand.metrics if name not in chosen]
    wanted = [chosen[name] for name in demand.metrics or chosen if name in chosen]
    said = [_Said(Verdict.UNKNOWN, f"{name} was not reported.") for name in missing]
    for measure in wanted:
        said += _judge_metric(measure, reported, demand)
    return _finding(said)


def _judge_metric(measure: Measure, reported: Reported, demand: Demand) -> Iterable[_Said]:
    name = measure.name
    if measure.value.interval is None:
        yield _Said(Verdict.UNKNOWN, f"{name} is a number without an interval.")
        return
    if measure.baseline is None:
        yield _Said(Verdict.UNKNOWN, f"{name} was not compared with a simple baseline.")
    else:
        yield _beats(measure, measure.baseline, f"{name} against the baseline")
    if demand.live_version is not None:
        yield from _against_live(measure, reported, demand)
    if not measure.slices and demand.slices:
        yield _Said(Verdict.UNKNOWN, f"{name} was not measured on slices.")
    for part in measure.slices:
        yield _slice(measure, part, demand)


def _against_live(measure: Measure, reported: Reported, demand: Demand) -> Iterable[_Said]:
    what = f"{measure.name} against v{demand.live_version}, which is live"
    if reported.live_version != demand.live_version:
        other = f"v{reported.live_version}" if reported.live_version is not None else "none"
        yield _Said(Verdict.UNKNOWN, f"{what}: the evidence compares with {other}.")
    elif measure.gain is not None:
        yield _gains(measure, measure.gain, demand.margin, what)
    elif measure.live is None:
        yield _Said(Verdict.UNKNOWN, f"{what}: not reported.")
    else:
        yield _beats(measure, measure.live, what, margin=demand.margin)


def _beats(measure: Measure, other: Estimate, what: str, *, margin: float = 0.0) -> _Said:
    """Compare two intervals; a bare number on the other side is taken as exact."""
    sign = 1.0 if measure.higher_is_better else -1.0
    ours = _turned(measure.value, sign)
    theirs = _turned(other, sign)
    shown = f"{what}: {measure.value} to {other}"
    if ours is None:
        return _Said(Verdict.UNKNOWN, f"{shown}; without an interval nothing is shown.")
    low, high = theirs or (other.value * sign, other.value * sign)
    if ours[0] > high - margin:
        return _Said(Verdict.PASSED, f"{shown}.")
    if ours[1] < low - margin:
        return _Said(Verdict.FAILED, f"{shown}; that is worse.")
    return _Said(Verdict.UNKNOWN, f"{shown}; the intervals overlap.")


def _gains(measure: Measure, gain: Estimate, margin: float, what: str) -> _Said:
    """Judge the interval of the difference, where both models answered the same rows."""
    shown = f"{what}: a difference of {gain}"
    turned = _turned(gain, 1.0 if measure.higher_is_better else -1.0)
    if turned is None:
        return _Said(Verdict.UNKNOWN, f"{shown}; without an interval nothing is shown.")
    if turned[0] > -margin:
        return _Said(Verdict.PASSED, f"{shown}.")
    if turned[1] < -margin:
        return _Said(Verdict.FAILED, f"{shown}; that is worse.")
    return _Said(Verdict.UNKNOWN, f"{shown}; that may be nothing.")


def _slice(measure: Measure, part: Measure, demand: Demand) -> _Said:
    """A slice must not be shown to be worse than what is live, or else than the baseline."""
    what = f"{measure.name} on {part.name}"
    live = part.live if demand.live_version is not None else None
    if part.value.interval is None:
        return _Said(Verdict.UNKNOWN, f"{what} is a number without an interval.")
    if live is None and part.baseline is None:
        return _Said(Verdict.UNKNOWN, f"{what} was compared with nothing.")
    found = _beats(part, live or part.baseline or part.value, what, margin=demand.margin)
    overlaps = found.verdict is Verdict.UNKNOWN
    return _Said(Verdict.PASSED, found.sentence) if overlaps else found


def _finding(said: Sequence[_Said]) -> Finding:
    for verdict in (Verdict.FAILED, Verdict.UNKNOWN):
        told = [s.sentence for s in said if s.verdict is verdict]
        if told:
            more = f" And {len(told) - 3} more." if len(told) > 3 else ""
            remedy = (
                "Do not release it; look at the metrics that got worse."
                if verdict is Verdict.FAILED
                else "Send metrics with intervals, against the baseline and what is live now; "
                "more test rows make intervals narrower."
            )
            return Finding(verdict, " ".join(told[:3]) + more, remedy)
    shown = [s.sentence for s in said]
    return Finding(Verdict.PASSED, " ".join(shown[:3]))


def _turned(estimate: Estimate, sign: float) -> tuple[float, float] | None:
    """Return the interval so that more is better."""
    if estimate.interval is None:
        return None
    low, high = estimate.interval
    return (low, high) if sign > 0 else (-high, -low)


def _measure(entry: object, place: str, named: str, *, higher: bool = True) -> Measure:
    told = _mapping(entry, place)
    better = told.get("higher_is_better", higher)
    if not isinstance(better, bool):
        _refuse(f"{place}.higher_is_better", "is not true or false")
    slices = told.get("slices", [])
    if not isinstance(slices, list) or len(slices) > MOST_SLICES:
        _refuse(f"{place}.slices", f"is not a list of at most {MOST_SLICES}")
    return Measure(
        name=_name(told.get(named), f"{place}.{named}"),
        value=_estimate(told, place),
        baseline=_optional(told.get("baseline"), f"{place}.baseline"),
        live=_optional(told.get("live"), f"{place}.live"),
        gain=_optional(told.get("gain"), f"{place}.gain"),
        higher_is_better=better,
        slices=tuple(
            _measure(part, f"{place}.slices[{n}]", "name", higher=better)
            for n, part in enumerate(slices)
        ),
    )


def _optional(value: object, place: str) -> Estimate | None:
    if value is None:
        return None
    return _estimate(value if isinstance(value, Mapping) else {"value": value}, place)


def _estimate(told: Mapping[str, Any], place: str) -> Estimate:
    value = _number(told.get("value"), f"{place}.value")
    if told.get("low") is None and told.get("high") is None:
        return Estimate(value)
    low, high = (
        _number(told.get("low"), f"{place}.low"),
        _number(told.get("high"), f"{place}.high"),
    )
    if not low <= value <= high:
        _refuse(place, f"has the interval [{low:g}, {high:g}], which does not hold {value:g}")
    return Estimate(value, low, high)


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(place, "is not an object")
    return value


def _name(value: object, place: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        _refuse(place, "is not a name")
    return value


def _number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _refuse(place, "is not a finite number")
    return float(value)


def _refuse(place: str, what: str) -> NoReturn:
    raise Invalid(
        f"{place} {what}.",
        remedy=f"Send metrics like this: {EXAMPLE}",
        field=place,
        code="evidence.malformed",
    )
