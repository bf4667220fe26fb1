"""The picture of a load test: how long answers took, second by second, against the objective."""

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.kernel.figures import THIN, rounded

HOVER = "second %{x:.0f}: p95 %{y:.3g} ms<extra></extra>"


def figure(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the figure of a load test's evidence; None when it is not one, or too short."""
    points = _points(facts)
    if len(points) < 2:
        return None
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "p95",
                "x": [p.get("second", n) for n, p in enumerate(points)],
                "y": [p.get("p95_ms") for p in points],
                "line": {"color": "role:canary", "width": 2},
                "hovertemplate": HOVER,
            }
        ],
        "layout": _layout(_goal(facts, "latency_ms")),
    }


def finding(facts: Mapping[str, Any]) -> str:
    """Return what the picture shows."""
    if not _points(facts):
        return ""
    p95, rate = facts.get("p95_ms"), _goal(facts, "rate")
    took = f"p95 {rounded(p95)}{THIN}ms" if isinstance(p95, int | float) else "p95 not known"
    at = f" at {rounded(rate)}{THIN}requests a second" if rate else ""
    return f"{took}{at}, which arrive when they are due whether or not answers come"


def _points(facts: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    told = facts.get("by_second")
    return [p for p in told if isinstance(p, dict)] if isinstance(told, list) else []


def _goal(facts: Mapping[str, Any], name: str) -> float | None:
    goal = facts.get("goal")
    value = goal.get(name) if isinstance(goal, dict) else None
    return float(value) if isinstance(value, int | float) and value else None


def _layout(limit: float | None) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "seconds"}, "showgrid": False},
        "yaxis": {"title": {"text": "p95, ms"}, "rangemode": "tozero"},
        "showlegend": False,
    }
    if limit is None:
        return layout
    line = {"color": "role:limit", "width": 1.5, "dash": "dash"}
    words = {"xref": "paper", "x": 1, "xanchor": "right", "y": limit, "yanchor": "bottom"}
    return {
        **layout,
        "shapes": [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": limit,
                "y1": limit,
                "line": line,
            }
        ],
        "annotations": [
            {
                **words,
                "text": f"objective {rounded(limit)} ms",
                "showarrow": False,
                "font": {"color": "role:limit", "size": 12},
            }
        ],
    }
