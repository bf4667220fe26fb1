"""Speed against closeness to the original: which variants nothing beats. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

SMALLEST = 1e-9  # where "no difference at all" stands on a logarithmic axis
HOVER = "%{customdata[0]}<br>p95 %{x:.3g} ms<br>%{customdata[1]}<extra></extra>"
AXIS = {"showline": False, "zeroline": False}


@dataclass(frozen=True)
class Point:
    """One variant on the chart.

    Attributes:
        kind: Its name.
        milliseconds: p95 of one prediction.
        difference: The largest |difference| to the original; 0.0 for the original itself.
        passed: Whether its proof sheet says that it may be served.
    """

    kind: str
    milliseconds: float
    difference: float
    passed: bool


def unbeaten(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other is at least as good as in both ways, fastest first."""
    return sorted(
        (p for p in points if p.passed and not any(_beats(q, p) for q in points if q.passed)),
        key=lambda p: (p.milliseconds, p.difference),
    )


def fastest(points: Sequence[Point]) -> Point | None:
    """Return the fastest point that passed."""
    passed = [p for p in points if p.passed]
    return min(passed, key=lambda p: (p.milliseconds, p.difference), default=None)


def finding(points: Sequence[Point]) -> str:
    """Return what the chart shows, in a sentence."""
    best = fastest(points)
    native = next((p for p in points if p.kind == "native"), None)
    if best is None:
        return "No variant has passed its proof"
    if native is None or best is native:
        return f"{best.kind} is the fastest that passed"
    times = native.milliseconds / best.milliseconds if best.milliseconds else 0.0
    if times < 1.15:
        return f"{best.kind} is no faster than the original"
    return f"{best.kind} is {_times(times)} faster and stays inside the tolerance"


def figure(points: Sequence[Point], tolerance: float) -> dict[str, Any] | None:
    """Return the chart, or None with fewer than two measured variants."""
    if len(points) < 2:
        return None
    line = unbeaten(points)
    best = fastest(points)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "x": [p.milliseconds for p in line],
                "y": [_height(p) for p in line],
                "line": {"color": "role:stable", "width": 1.5, "dash": "dash", "shape": "hv"},
                "hoverinfo": "skip",
            },
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": [p.milliseconds for p in points],
                "y": [_height(p) for p in points],
                "text": _names(points),
                "textposition": _sides(points),
                "textfont": {"size": 12},
                "cliponaxis": False,
                "marker": {
                    "size": [13 if p is best else 10 for p in points],
                    "color": [_role(p, best) for p in points],
                    "line": {"color": "role:surface", "width": 2},
                },
                "customdata": [[p.kind, _said(p)] for p in points],
                "hovertemplate": HOVER,
            },
        ],
        "layout": {
            "hovermode": "closest",
            "margin": {"l": 64, "r": 24, "t": 16, "b": 44},
            "xaxis": {**AXIS, "type": "log", "title": {"text": "p95, milliseconds"},
                      "range": _across(points), "dtick": "D2", "tickformat": "~g"},
            "yaxis": {**AXIS, "type": "log", "title": {"text": "largest difference"},
                      "range": _upwards(points, tolerance), "dtick": 2, "exponentformat": "power"},
            "shapes": [_limit(tolerance)] if tolerance > 0 else [],
            "annotations": [_limit_words(tolerance)] if tolerance > 0 else [],
        },
    }  # fmt: skip


def _beats(one: Point, other: Point) -> bool:
    no_worse = one.milliseconds <= other.milliseconds and one.difference <= other.difference
    return no_worse and (one.milliseconds, one.difference) != (
        other.milliseconds,
        other.difference,
    )


def _times(factor: float) -> str:
    return f"{factor:.0f} times" if factor >= 10 else f"{factor:.1f} times"


def _height(point: Point) -> float:
    return max(point.difference, SMALLEST)


def _said(point: Point) -> str:
    return "the original" if point.kind == "native" else f"differs by {point.difference:.2g}"


def _role(point: Point, best: Point | None) -> str:
    if not point.passed:
        return "role:bad"
    return "role:canary" if point is best else "role:stable"


def _sides(points: Sequence[Point]) -> list[str]:
    """Put names above, to the right of points in the left half and to the left in the other."""
    middle = _middle(points)
    return ["top left" if p.milliseconds > middle else "top right" for p in points]


def _names(points: Sequence[Point]) -> list[str]:
    """Return the names; of points that lie on each other, one says all."""
    names: list[str] = []
    for place, point in enumerate(points):
        near = [p for p in points if _near(p, point)]
        first = not any(_near(p, point) for p in points[:place])
        names.append(", ".join(p.kind for p in near) if first else "")
    return names


def _near(one: Point, other: Point) -> bool:
    sideways = abs(log10(max(one.milliseconds, 1e-4)) - log10(max(other.milliseconds, 1e-4)))
    return sideways < 0.25 and abs(log10(_height(one)) - log10(_height(other))) < 0.6


def _middle(points: Sequence[Point]) -> float:
    low, high = min(p.milliseconds for p in points), max(p.milliseconds for p in points)
    return float((max(low, 1e-6) * max(high, 1e-6)) ** 0.5)


def _across(points: Sequence[Point]) -> list[float]:
    from_ms = min(max(p.milliseconds, 1e-4) for p in points)
    to_ms = max(max(p.milliseconds, 1e-4) for p in points)
    return [log10(from_ms / 2.2), log10(to_ms * 2.2)]


def _upwards(points: Sequence[Point], tolerance: float) -> list[float]:
    """Return the range of differences, the largest at the bottom: up is better."""
    worst = max([_height(p) for p in points] + [tolerance])
    best = min(_height(p) for p in points)
    return [log10(worst * 12), log10(best / 12)]


def _limit(tolerance: float) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": tolerance,
        "y1": tolerance,
        "line": {"color": "role:limit", "width": 1.5, "dash": "dash"},
    }


def _limit_words(tolerance: float) -> dict[str, Any]:
    return {
        "xref": "paper",
        "x": 1,
        "xanchor": "right",
        "y": log10(tolerance),
        "yanchor": "top",
        "text": f"tolerance {tolerance:g}",
        "showarrow": False,
        "font": {"color": "role:limit", "size": 12},
    }
