"""What an endpoint did, as charts by revision; silence is hatched. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

NARROW = {"l": 40, "r": 8, "t": 8, "b": 24}


@dataclass(frozen=True)
class Moment:
    """One revision in one step of time.

    Attributes:
        at: When the step begins.
        rate: Requests per second; None while nothing was measured.
        errors: Share of requests that failed on our side; None without requests.
        p50: Milliseconds; None without requests.
        p95: Milliseconds; None without requests.
        p99: Milliseconds; None without requests.
    """

    at: datetime
    rate: float | None = None
    errors: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class Series:
    """One revision over time.

    Attributes:
        name: What its line is called ("r2, v3").
        role: Its colour's role: the newest is the canary's blue, what was before is grey.
        moments: Evenly spaced, oldest first; the same steps in every series.
    """

    name: str
    role: str
    moments: tuple[Moment, ...]


def requests(series: Sequence[Series], step: timedelta) -> dict[str, Any]:
    """Return requests per second by revision."""
    lines = [_line(s, [m.rate for m in s.moments]) for s in series]
    return _figure(lines, series, step, silent=_silent(series, "rate"), floor=1.0)


def errors(series: Sequence[Series], step: timedelta) -> dict[str, Any]:
    """Return the share of failed requests by revision, in percent."""
    lines = [
        _line(s, [None if m.errors is None else 100 * m.errors for m in s.moments]) for s in series
    ]
    return _figure(lines, series, step, silent=_silent(series, "errors"), floor=1.0, suffix=" %")


def latency(series: Sequence[Series], step: timedelta, *, spread: bool = True) -> dict[str, Any]:
    """Return p95 by revision, and p50 and p99 of the newest unless `spread` is false."""
    lines = [_line(s, [m.p95 for m in s.moments], name=f"{s.name}, p95") for s in series]
    for newest in series[: 1 if spread else 0]:
        lines += [
            _line(newest, [m.p99 for m in newest.moments], name="p99", role="2", width=1.25),
            _line(newest, [m.p50 for m in newest.moments], name="p50", role="3", width=1.25),
        ]
    return _figure(lines, series, step, silent=_silent(series, "p95"), floor=2.0, suffix=" ms")


def _line(
    series: Series,
    values: Sequence[float | None],
    *,
    name: str = "",
    role: str = "",
    width: float = 0,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name or series.name,
        "x": [m.at.isoformat() for m in series.moments],
        "y": [None if v is None else round(v, 4) for v in values],
        "connectgaps": False,
        "line": {
            "color": f"role:{role or series.role}",
            "width": width or (2.5 if series.role == "canary" else 1.5),
        },
    }


def _figure(
    lines: list[dict[str, Any]],
    series: Sequence[Series],
    step: timedelta,
    *,
    silent: list[tuple[datetime, datetime]],
    floor: float,
    suffix: str = "",
) -> dict[str, Any]:
    top = max([y for line in lines for y in line["y"] if y is not None] + [floor]) * 1.12
    moments = series[0].moments if series else ()
    across = [moments[0].at.isoformat(), (moments[-1].at + step).isoformat()] if moments else []
    return {
        "data": [*_hatched(silent, step, top), *lines],
        "layout": {
            "margin": NARROW,
            "barmode": "overlay",
            "bargap": 0,
            "xaxis": {"type": "date", "range": across, "tickformat": "%H:%M", "nticks": 4},
            "yaxis": {"range": [0, top], "nticks": 4, "ticksuffix": suffix, "zeroline": False},
        },
    }


def _hatched(
    silent: list[tuple[datetime, datetime]], step: timedelta, top: float
) -> list[dict[str, Any]]:
    """Return the stretches in which nothing was heard, hatched: silence is not zero."""
    if not silent:
        return []
    return [
        {
            "type": "bar",
            "name": "no data",
            "x": [(begin + (end - begin) / 2).isoformat() for begin, end in silent],
            "y": [top] * len(silent),
            "width": [int((end - begin).total_seconds() * 1000) for begin, end in silent],
            "hovertemplate": "no data<extra></extra>",
            "marker": {
                "color": "rgba(0,0,0,0)",
                "line": {"width": 0},
                "pattern": {
                    "shape": "/",
                    "size": 6,
                    "solidity": 0.15,
                    "fgcolor": "role:unknown",
                },
            },
        }
    ]


def _silent(series: Sequence[Series], what: str) -> list[tuple[datetime, datetime]]:
    """Return the stretches in which no revision said anything of `what`."""
    if not series or len(series[0].moments) < 2:
        return []
    at = [m.at for m in series[0].moments]
    step = at[1] - at[0]
    quiet = [
        all(getattr(s.moments[i], what) is None for s in series if i < len(s.moments))
        for i in range(len(at))
    ]
    edges = [0, *[i for i, (a, b) in enumerate(pairwise(quiet), 1) if a != b], len(at)]
    return [(at[a], at[b - 1] + step) for a, b in pairwise(edges) if quiet[a]]
