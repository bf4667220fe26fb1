"""Canary against stable: who gets the requests, and how both answer them, over time."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from apps.endpoints.domain.values import WHOLE
from apps.endpoints.models import Revision
from apps.monitoring.domain import charts
from apps.monitoring.selectors import Point
from apps.rollouts.domain import curve, words
from apps.rollouts.domain.curve import Split, Weight
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Until
from apps.rollouts.telling import Kind
from apps.rollouts.web.seen import Seen

LEVEL = 0.15  # of the larger: a difference below it is none to speak of


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        series: Whose colour it has.
        name: "canary r24, v18".
    """

    series: str
    name: str


@dataclass(frozen=True)
class Row:
    """One quantity of both sides over the whole rollout, for whoever has no charts."""

    name: str
    unit: str
    canary: float | None
    stable: float | None


@dataclass(frozen=True)
class Chart:
    """One chart over time."""

    name: str
    finding: str
    unit: str
    figure: dict[str, Any]


@dataclass(frozen=True)
class Sides:
    """The panel.

    Attributes:
        sides: Canary, then stable where there is one.
        split: The drawing of the split.
        split_finding: It in words.
        charts: Requests, errors, latency.
        rows: The same as numbers.
        silent: Whether no request came at all.
    """

    sides: list[Side]
    split: Split
    split_finding: str
    charts: list[Chart]
    rows: list[Row]
    silent: bool


def sides(seen: Seen) -> Sides:
    """Return the panel."""
    series, step = _series(seen), timedelta(seconds=seen.traffic.step)
    canary, stable = _total(seen, seen.row.candidate), _total(seen, seen.row.stable)
    return Sides(
        sides=_sides(seen),
        split=_split(seen),
        split_finding=_split_finding(seen),
        charts=[
            Chart("requests", _requests(canary), "requests a second",
                  charts.requests(series, step)),
            Chart("errors", _errors(canary, stable), "share of requests, in percent",
                  charts.errors(series, step)),
            Chart("latency", _latency(canary, stable), "p95, milliseconds",
                  charts.latency(series, step, spread=False)),
        ],
        rows=_rows(canary, stable),
        silent=canary.requests is None and stable.requests is None,
    )  # fmt: skip


def _sides(seen: Seen) -> list[Side]:
    candidate, stable = seen.row.candidate, seen.row.stable
    found = [Side("canary", f"canary r{candidate.number}, v{candidate.version.number}")]
    if stable is not None:
        found.append(Side("stable", f"stable r{stable.number}, v{stable.version.number}"))
    return found


def _series(seen: Seen) -> list[charts.Series]:
    found = {s.revision: s.points for s in seen.traffic.series}
    pairs = [("canary", seen.row.candidate), ("stable", seen.row.stable)]
    drawn = [
        charts.Series(
            f"{role} r{revision.number}",
            role,
            tuple(
                charts.Moment(p.at, p.requests_per_second, p.errors, p.p50_ms, p.p95_ms, p.p99_ms)
                for p in found.get(revision.number, ())
            ),
        )
        for role, revision in pairs
        if revision is not None and revision.number in found
    ]
    return drawn or [charts.Series("", "stable", _silence(seen))]


def _silence(seen: Seen) -> tuple[charts.Moment, ...]:
    at, moments = seen.traffic.since, []
    while at < seen.traffic.until:
        moments.append(charts.Moment(at))
        at += timedelta(seconds=seen.traffic.step)
    return tuple(moments)


def _total(seen: Seen, revision: Revision | None) -> Point:
    nothing = Point(seen.traffic.since, None, None, None, None, None, None)
    number = revision.number if revision else None
    return next((s.total for s in seen.traffic.series if s.revision == number), nothing)


def _split(seen: Seen) -> Split:
    return curve.split(_weights(seen), _ahead(seen), since=seen.since, now=seen.until)


def _weights(seen: Seen) -> list[Weight]:
    """Return the weights that were seen in force, from the log; or what came of many at once."""
    if _has_segments(seen):
        return _shares(seen)
    found = []
    for event in seen.milestones:
        if event.kind == Kind.SEEN:
            found.append(Weight(event.at, int(event.facts.get("trial", {}).get("weight", 0))))
        elif event.kind == Kind.REALLOCATED:
            found.append(Weight(event.at, int(event.facts.get("weight", 0))))
        elif event.kind == Kind.SETTLED:
            found.append(Weight(event.at, WHOLE))
        elif event.kind in (Kind.RESTORED, Kind.ABORTED):
            found.append(Weight(event.at, 0))
    return found


def _has_segments(seen: Seen) -> bool:
    return bool(seen.strategy.trying and seen.strategy.trying.values)


def _shares(seen: Seen) -> list[Weight]:
    """Return which share of the requests that came went to the canary, moment by moment."""
    rates = {
        series.revision: {p.at: p.requests_per_second or 0.0 for p in series.points}
        for series in seen.traffic.series
    }
    stable = rates.get(seen.row.stable.number, {}) if seen.row.stable else {}
    canary = rates.get(seen.row.candidate.number, {})
    return [
        Weight(at, round(WHOLE * rate / (rate + stable.get(at, 0.0))))
        for at, rate in canary.items()
        if rate + stable.get(at, 0.0)
    ]


def _ahead(seen: Seen) -> list[tuple[timedelta, int]]:
    """Return what is planned, with the least time that each step takes."""
    climbing = seen.state is RolloutState.PROGRESSING and not seen.coming
    if not climbing or seen.step is None or seen.step.until in (Until.EXPERIMENT, Until.LEARNT):
        return []
    left = seen.step.hold
    if seen.held_until is not None:
        left = max(timedelta(0), seen.held_until - seen.now)
    judged = seen.standing.remaining_seconds if seen.standing else None
    at = max(left, timedelta(seconds=judged or 0))
    found = []
    for step in seen.steps[seen.row.step + 1 :]:
        found.append((at, step.weight))
        at += step.hold
    return [*found, (at, WHOLE)]


def _split_finding(seen: Seen) -> str:
    weight = seen.row.candidate.observed_weight
    if _has_segments(seen) and not seen.ended:
        weight = next((w.percent for w in reversed(_shares(seen))), weight)
    now = words.percent(weight)
    if seen.ended:
        return f"Traffic: {now} to v{seen.row.candidate.version.number} in the end"
    ahead = _ahead(seen)
    then = f", {words.percent(ahead[0][1])} next" if ahead else ""
    return f"Traffic: {now} to the canary{then}"


def _requests(canary: Point) -> str:
    if canary.requests is None:
        return "No request reached the canary"
    return f"{canary.requests:,} requests reached the canary"


def _errors(canary: Point, stable: Point) -> str:
    return f"Errors: {_against(canary.errors, stable.errors, 'more', 'fewer', floor=0.002)}"


def _latency(canary: Point, stable: Point) -> str:
    if canary.requests and canary.p95_ms is None:  # the proxy does not time copies
        return "Latency: copies are compared above"
    return f"Latency: {_against(canary.p95_ms, stable.p95_ms, 'slower', 'faster', floor=0.05)}"


def _against(
    canary: float | None, stable: float | None, more: str, less: str, *, floor: float
) -> str:
    """Return how one number stands against the other, in words; the judge alone judges."""
    if canary is None:
        return "no request to the canary"
    if stable is None:
        return "nothing to hold it against"
    if abs(canary - stable) <= max(floor, LEVEL * max(canary, stable)):
        return "level with stable"
    return f"{more} than stable" if canary > stable else f"{less} than stable"


def _rows(canary: Point, stable: Point) -> list[Row]:
    return [
        Row("Requests", "/s", canary.requests_per_second, stable.requests_per_second),
        Row("Errors", "%", _hundred(canary.errors), _hundred(stable.errors)),
        Row("p50", "ms", canary.p50_ms, stable.p50_ms),
        Row("p95", "ms", canary.p95_ms, stable.p95_ms),
        Row("p99", "ms", canary.p99_ms, stable.p99_ms),
    ]


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share
