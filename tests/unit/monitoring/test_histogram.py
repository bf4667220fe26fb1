"""Histograms can be merged, and their percentiles lie where the latencies do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.monitoring.domain import histogram, windows
from apps.monitoring.domain.windows import Counts

latencies = st.lists(st.floats(0, 120_000), max_size=60)


def counted(values: list[float]) -> list[int]:
    counts = histogram.empty()
    for value in values:
        counts[histogram.bucket_of(value)] += 1
    return counts


@given(latencies, latencies)
def test_merging_is_counting_together(left: list[float], right: list[float]) -> None:
    assert histogram.merge([counted(left), counted(right)]) == counted(left + right)


@given(latencies, latencies)
def test_what_came_since_is_the_difference(before: list[float], after: list[float]) -> None:
    assert histogram.since(counted(before + after), counted(before)) == counted(after)


@given(latencies.filter(bool), st.floats(0.01, 1))
def test_a_percentile_lies_in_the_bucket_of_the_exact_one(
    values: list[float], share: float
) -> None:
    found = histogram.percentile(counted(values), share)
    rank = max(1, -(-len(values) * share // 1))
    exact = sorted(values)[min(len(values), int(rank)) - 1]
    assert found is not None
    bounds = (0.0, *histogram.BOUNDS_MS)
    index = min(histogram.bucket_of(exact), len(histogram.BOUNDS_MS) - 1)
    assert bounds[index] <= found <= bounds[index + 1]


@given(latencies.filter(bool))
def test_percentiles_do_not_fall(values: list[float]) -> None:
    counts = counted(values)
    found = [histogram.percentile(counts, s) or 0 for s in (0.5, 0.9, 0.95, 0.99, 1.0)]
    assert found == sorted(found)


def test_silence_has_no_percentile() -> None:
    assert histogram.percentile(histogram.empty(), 0.5) is None
    assert histogram.percentile([], 0.5) is None


NOW = datetime(2026, 11, 22, 12, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "before", "came"),
    [
        (Counts(10, 2, 1), Counts(4, 1, 1), Counts(6, 1, 0)),
        (Counts(10, 2, 1), None, Counts(10, 2, 1)),
        (Counts(3, 0, 0), Counts(10, 2, 1), Counts(3, 0, 0)),  # it began anew
    ],
)
def test_differences_survive_a_counter_that_begins_anew(
    now: Counts, before: Counts | None, came: Counts
) -> None:
    found = windows.difference(now, before)
    assert (found.requests, found.errors_4xx, found.errors_5xx) == (
        came.requests, came.errors_4xx, came.errors_5xx,
    )  # fmt: skip


def test_what_came_in_a_gap_is_told_as_one_long_window() -> None:
    usual = windows.span(NOW, NOW - timedelta(seconds=2))
    assert usual == windows.Span(NOW.replace(second=0), 10)
    late = windows.span(NOW, NOW - timedelta(minutes=5))
    assert late.starts_at == NOW.replace(minute=55, hour=11, second=0)
    assert late.seconds == 307
