"""The picture of a load test: how long answers took, minute by minute, against the objective."""

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.kernel.figures import THIN, rounded

LINES = (
    ("p50_ms", "p50", "role:stable"),
    ("p95_ms", "p95", "role:series-2"),
    ("p99_ms", "p99", "role:canary"),
)


def figure(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the figure of a load test's `series`; None when the evidence holds none."""
    points = _points(facts)
    if len(points) < 2:
        return None
    seconds = [p.get("second", n) for n, p in enumerate(points)]
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": seconds,
            "y": [p.get(key) for p in points],
            "line": {"color": colour, "width": 2},
            "hovertemplate": f"{name} %{{y:.3g}} ms after %{{x:.0f}} s<extra></extra>",
        }
        for key, name, colour in LINES
        if any(p.get(key) is not None for p in points)
    ]
    return {"data": data, "layout": _layout(facts)} if data else None


def finding(facts: Mapping[str, Any]) -> str:
    """Return what the picture shows."""
    points = _points(facts)
    slowest = max((p.get("p99_ms") or 0.0 for p in points), default=0.0)
    rate = facts.get("asked_rps") or facts.get("rps") or facts.get("rate")
    at = (
        f" at {rounded(float(rate))}{THIN}requests a second"
        if isinstance(rate, int | float)
        else ""
    )
    return f"The slowest hundredth took at most {rounded(slowest)}{THIN}ms{at}"


def _points(facts: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    series = facts.get("series")
    if not isinstance(series, list):
        return []
    return [p for p in series if isinstance(p, dict)]


def _layout(facts: Mapping[str, Any]) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "seconds"}, "showgrid": False},
        "yaxis": {"title": {"text": "ms"}, "rangemode": "tozero"},
        "showlegend": True,
    }
    limit = facts.get("latency_ms") or facts.get("limit_ms")
    if isinstance(limit, int | float):
        layout["shapes"] = [
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": limit, "y1": limit,
                "line": {"color": "role:limit", "width": 1.5, "dash": "dash"},
            }
        ]  # fmt: skip
        layout["annotations"] = [
            {
                "xref": "paper", "x": 1, "xanchor": "right", "y": limit, "yanchor": "bottom",
                "text": f"objective {rounded(float(limit))} ms", "showarrow": False,
                "font": {"color": "role:limit", "size": 12},
            }
        ]  # fmt: skip
    return layout
