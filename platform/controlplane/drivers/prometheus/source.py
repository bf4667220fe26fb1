"""Prometheus as a source of numbers: one instant query for each side.

It speaks Prometheus' own HTTP API, which Thanos, Mimir and VictoriaMetrics answer as well.
https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

import math
from typing import Any

import httpx

from apps.analysis.domain import queries
from apps.analysis.domain.queries import Measured, Query
from controlplane.kernel.errors import Permanent, Transient

SECONDS = 5.0  # for an answer; Prometheus is told to give up as well
LARGEST = 1024**2  # bytes of an answer: one number needs few
WORDS = 200  # characters of what it says that are kept


class PrometheusSource:
    """Implements `apps.analysis.ports.MetricSource`."""

    def __init__(self, url: str, *, seconds: float = SECONDS) -> None:
        """Remember where the server is.

        Args:
            url: Its address with its path prefix, if it has one; "" when there is none.
            seconds: How long to wait for an answer.
        """
        self._url = url.rstrip("/")
        self._seconds = seconds
        self._client = httpx.Client(
            timeout=httpx.Timeout(seconds, connect=min(seconds, 3.0)), trust_env=False
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def measure(self, query: Query) -> Measured:
        """Implement `MetricSource.measure`."""
        if not self._url:
            raise Permanent(
                "No Prometheus is known.",
                remedy="Set MODELYARD_PROMETHEUS_URL, and restart the workers.",
                code="prometheus.not_configured",
            )
        text = queries.fill(query.text, query.target.values(), quoted=queries.in_promql)
        return Measured(_number(self._ask(text, at=query.at.timestamp()), text))

    def _ask(self, text: str, *, at: float) -> dict[str, Any]:
        """Return the data of an instant query."""
        # POST: a query in an address may be too long for it.
        form = {"query": text, "time": f"{at:.3f}", "timeout": f"{self._seconds:g}s"}
        try:
            answer = self._client.post(f"{self._url}/api/v1/query", data=form)
        except httpx.TimeoutException as error:
            raise Transient(
                f"Prometheus did not answer within {self._seconds:g} s.",
                remedy="It is asked again by itself; a narrower query answers sooner.",
                code="prometheus.timeout",
            ) from error
        except httpx.HTTPError as error:
            raise Transient(
                f"Prometheus cannot be reached: {error}.",
                remedy="It is asked again by itself; check MODELYARD_PROMETHEUS_URL.",
                code="prometheus.unreachable",
            ) from error
        return _data(answer)


def _data(answer: httpx.Response) -> dict[str, Any]:
    """Return what a good answer holds; 400 and 422 say what is wrong with the query."""
    found = _parsed(answer)
    if answer.status_code in (400, 422):
        raise Permanent(
            f"Prometheus refuses the query: {found.get('error') or answer.text}"[:WORDS] + ".",
            remedy="Mend the metric's query; try it on Prometheus' own page first.",
            code="prometheus.query",
        )
    if answer.status_code in (401, 403, 404):
        raise Permanent(
            f"Prometheus answered {answer.status_code}.",
            remedy="Check MODELYARD_PROMETHEUS_URL, and the name and password in it.",
            code="prometheus.refused",
        )
    if not answer.is_success or found.get("status") != "success":
        said = str(found.get("error") or answer.reason_phrase)[:WORDS]
        raise Transient(
            f"Prometheus answered {answer.status_code}: {said}.",
            remedy="It is asked again by itself.",
            code="prometheus.unavailable",
        )
    data: dict[str, Any] = found["data"] if isinstance(found.get("data"), dict) else {}
    return data


def _parsed(answer: httpx.Response) -> dict[str, Any]:
    if len(answer.content) > LARGEST:
        raise Permanent(
            "Prometheus answered with far more than one number.",
            remedy="Have the query return one series: sum(...) or avg(...).",
            code="prometheus.many",
        )
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(data: dict[str, Any], text: str) -> float | None:
    """Return the one number of an answer; None when there is none, or it is none (0/0)."""
    match data.get("resultType"), data.get("result"):
        case "scalar", [_, value]:
            return _finite(value)
        case "vector", []:
            return None
        case "vector", [{"value": [_, value]}]:
            return _finite(value)
        case "vector", [_, _, *_] as series:
            raise Permanent(
                f"The query returns {len(series)} series and not one number: {text[:WORDS]}",
                remedy="Put sum(...) or avg(...) around it.",
                code="prometheus.many",
            )
        case kind, _:
            raise Permanent(
                f"The query returns a {kind or 'thing'} that is no number: {text[:WORDS]}",
                remedy="Use an instant query that returns a scalar, or a vector of one series.",
                code="prometheus.no_number",
            )


def _finite(written: Any) -> float | None:
    value = float(written)
    return value if math.isfinite(value) else None
