"""Envoy's statistics as the traffic meter: requests by outcome, and latency, per revision."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from apps.monitoring.domain import histogram
from apps.monitoring.domain.windows import Counts
from apps.monitoring.ports import Reading
from controlplane.drivers.envoy.admin import client
from controlplane.drivers.envoy.routes import revision_of
from controlplane.kernel.errors import Transient

WANTED = r"^(cluster\.[0-9a-z]+-[0-9]+\.upstream_rq_(total|4xx|5xx|time)|server\.uptime)$"
LATENCY = "upstream_rq_time"
RESOLUTION_MS = 1.0  # Envoy cuts a latency down to whole milliseconds


class EnvoyMeter:
    """Implements `apps.monitoring.ports.TrafficMeter`."""

    def __init__(self, *, admin: str, clock: Callable[[], float] = time.time) -> None:
        """Read from the Envoy whose admin address is `admin`."""
        self._admin = client(admin)
        self._clock = clock

    def close(self) -> None:
        """Close the connection to the admin page."""
        self._admin.close()

    def read(self) -> Reading:
        """Implement `TrafficMeter.read`."""
        stats = self._stats()
        values = {s["name"]: s["value"] for s in stats if "name" in s}
        details: list[Any] = next(
            (s["histograms"].get("details", []) for s in stats if "histograms" in s), []
        )
        started = self._clock() - values.get("server.uptime", 0)
        return Reading(
            started_at=datetime.fromtimestamp(started, UTC), counts=_counts(values, details)
        )

    def _stats(self) -> list[dict[str, Any]]:
        parameters = {"format": "json", "histogram_buckets": "detailed", "filter": WANTED}
        try:
            response = self._admin.get("/stats", params=parameters)
            response.raise_for_status()
            found: list[dict[str, Any]] = response.json().get("stats", [])
        except (httpx.HTTPError, ValueError) as error:
            raise Transient(
                f"Envoy's admin page does not answer: {error}", code="envoy.silent"
            ) from error
        return found


def _counts(
    values: Mapping[str, int], details: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, int], Counts]:
    latency = {_cluster(d["name"]): _latency(d.get("totals", [])) for d in details}
    found = {}
    for name, total in values.items():
        cluster = _cluster(name)
        revision = revision_of(cluster) if name.endswith("_total") else None
        if revision is not None:
            found[revision] = Counts(
                requests=total,
                errors_4xx=values.get(f"cluster.{cluster}.upstream_rq_4xx", 0),
                errors_5xx=values.get(f"cluster.{cluster}.upstream_rq_5xx", 0),
                latency=latency.get(cluster, ()),
            )
    return found


def _cluster(statistic: str) -> str:
    """Return the cluster in "cluster.NAME.upstream_rq_total"."""
    return statistic.removeprefix("cluster.").partition(".")[0]


def _latency(buckets: Iterable[Mapping[str, float]]) -> tuple[int, ...]:
    """Return Envoy's buckets as ours: each goes where its middle falls."""
    counts = histogram.empty()
    for bucket in buckets:
        middle = bucket["lower_bound"] + max(bucket["width"], RESOLUTION_MS) / 2
        counts[histogram.bucket_of(middle)] += int(bucket["count"])
    return tuple(counts)
