"""The few numbers a server keeps of itself, in Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)


class Histogram:
    """Counts of observations by upper bound."""

    def __init__(self, bounds: Iterable[float]) -> None:
        """Count below each of `bounds`, and above the last."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> list[str]:
        """Return the samples of the histogram called `name`."""
        edges = [f"{bound:g}" for bound in self.bounds] + ["+Inf"]
        running = list(accumulate(self.counts))
        return [
            *(
                f'{name}_bucket{{{labels},le="{edge}"}} {count}'
                for edge, count in zip(edges, running, strict=True)
            ),
            f"{name}_sum{{{labels}}} {self.total:.9g}",
            f"{name}_count{{{labels}}} {running[-1]}",
        ]


class Metrics:
    """What one server counts. Everything is written from the event loop only."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """Count for the model that `labels` name."""
        self.labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
        self.requests: Counter[int] = Counter()
        self.request_seconds = Histogram(SECONDS)
        self.inference_seconds = Histogram(SECONDS)
        self.batch_rows = Histogram(ROWS)
        self.in_flight = 0

    def observe_request(self, status: int, seconds: float) -> None:
        """Count one inference request that was answered."""
        self.requests[status] += 1
        self.request_seconds.observe(seconds)

    def observe_batch(self, rows: int, seconds: float) -> None:
        """Count one call of the model."""
        self.batch_rows.observe(rows)
        self.inference_seconds.observe(seconds)

    def text(self, *, queue_depth: int, ready: bool) -> bytes:
        """Return all of it as Prometheus reads it."""
        histograms = (
            (
                "request_seconds",
                "From a request's first byte to its answer.",
                self.request_seconds,
            ),
            ("inference_seconds", "Inside the model, by batch.", self.inference_seconds),
            ("batch_rows", "Rows that one call of the model got.", self.batch_rows),
        )
        gauges = (
            ("queue_depth", "Requests that wait for the model.", queue_depth),
            ("in_flight", "Requests accepted and not yet answered.", self.in_flight),
            ("ready", "Whether the model is loaded and warm.", int(ready)),
            ("resident_bytes", "Memory of this process.", _resident_bytes()),
        )
        lines = _heading("requests_total", "Inference requests by status.", "counter")
        lines += [
            f'modelyard_requests_total{{{self.labels},code="{code}"}} {count}'
            for code, count in sorted(self.requests.items())
        ]
        for name, says, histogram in histograms:
            lines += _heading(name, says, "histogram")
            lines += histogram.lines(f"modelyard_{name}", self.labels)
        for name, says, value in gauges:
            lines += _heading(name, says, "gauge")
            lines.append(f"modelyard_{name}{{{self.labels}}} {value}")
        return ("\n".join(lines) + "\n").encode()


def _heading(name: str, says: str, kind: str) -> list[str]:
    return [f"# HELP modelyard_{name} {says}", f"# TYPE modelyard_{name} {kind}"]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
