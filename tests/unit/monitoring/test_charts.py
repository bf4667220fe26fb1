from datetime import UTC, datetime, timedelta

from apps.monitoring.domain import charts
from apps.monitoring.domain.charts import Moment, Series

STEP = timedelta(seconds=10)
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def series(*rates: float | None) -> Series:
    moments = tuple(
        Moment(AT + n * STEP, rate, None if rate is None else 0.01, 1.0, 2.0, 3.0)
        for n, rate in enumerate(rates)
    )
    return Series("r1, v1", "canary", moments)


def test_silence_is_hatched_and_never_zero() -> None:
    drawn = charts.requests([series(1, None, None, 4)], STEP)
    hatched, line = drawn["data"]
    assert hatched["type"] == "bar"
    assert hatched["width"] == [20_000]
    assert line["y"] == [1, None, None, 4]
    assert line["connectgaps"] is False


def test_a_moment_is_silent_only_when_every_revision_is() -> None:
    both = [series(1, None, 3), series(None, 2, None)]
    assert all(d["type"] != "bar" for d in charts.requests(both, STEP)["data"])


def test_errors_are_percent() -> None:
    assert charts.errors([series(1, 2)], STEP)["data"][0]["y"] == [1.0, 1.0]


def test_latency_shows_three_percentiles_of_the_newest() -> None:
    drawn = charts.latency([series(1, 2), series(1, 2)], STEP)
    assert [d["name"] for d in drawn["data"]] == ["r1, v1, p95", "r1, v1, p95", "p99", "p50"]


def test_nothing_measured_is_a_chart_of_silence() -> None:
    drawn = charts.requests([series(None, None, None)], STEP)
    assert drawn["data"][0]["width"] == [30_000]
    assert charts.requests([], STEP)["data"] == []
