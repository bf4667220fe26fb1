"""From counters to windows, and from windows to what a page shows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.endpoints.models import Revision
from apps.monitoring import reconcile, selectors
from apps.monitoring.domain import histogram
from apps.monitoring.domain.windows import Counts
from apps.monitoring.models import TrafficWindow
from apps.monitoring.ports import Reading
from apps.monitoring.reconcile import Measurer
from controlplane.drivers.memory.serving import MemoryMeter
from controlplane.kernel.actor import Role
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def counts(requests: int, *, errors: int = 0, ms: float = 4) -> Counts:
    latency = histogram.empty()
    latency[histogram.bucket_of(ms)] = requests
    return Counts(requests, 0, errors, tuple(latency))


@pytest.fixture
def revision() -> Revision:
    return factories.revision()


@pytest.fixture
def meter() -> MemoryMeter:
    return MemoryMeter(Reading(started_at=NOW - timedelta(hours=1), counts={}))


def measure(meter: MemoryMeter, revision: Revision, *shown: tuple[float, Counts]) -> None:
    """Have the meter show each of `shown` (seconds from NOW, counters), and read it."""
    for seconds, seen in shown:
        meter.count(revision.endpoint.public_id, revision.number, seen)
        Measurer(meter)(NOW + timedelta(seconds=seconds))


def rows() -> list[tuple[int, int, int]]:
    found = TrafficWindow.objects.order_by("starts_at")
    return [(int((r.starts_at - NOW).total_seconds()), r.requests, r.seconds) for r in found]


def test_differences_go_to_the_windows_they_came_in(
    meter: MemoryMeter, revision: Revision
) -> None:
    measure(
        meter, revision,
        (1, counts(5)), (3, counts(9)), (9, counts(9)), (11, counts(10)), (21, counts(40)),
    )  # fmt: skip
    assert rows() == [(0, 9, 10), (10, 1, 10), (20, 30, 10)]


def test_reading_twice_counts_once(meter: MemoryMeter, revision: Revision) -> None:
    measure(meter, revision, (1, counts(5)), (1, counts(5)), (2, counts(5)))
    assert rows() == [(0, 5, 10)]


def test_a_restarted_proxy_begins_at_zero_and_nothing_is_lost(
    meter: MemoryMeter, revision: Revision
) -> None:
    measure(meter, revision, (1, counts(5)))
    meter.reading = Reading(started_at=NOW + timedelta(seconds=11), counts={})
    measure(meter, revision, (13, counts(7)))  # more than before: only its start tells
    assert rows() == [(0, 5, 10), (10, 7, 10)]


def test_a_worker_that_was_away_tells_of_one_long_window(
    meter: MemoryMeter, revision: Revision
) -> None:
    measure(meter, revision, (1, counts(5)), (600, counts(605)))
    assert rows() == [(0, 605, 600)]


def test_a_page_shows_each_revision_and_silence_as_nothing(
    meter: MemoryMeter, revision: Revision
) -> None:
    busy, later = counts(20, errors=5), counts(21, errors=5)
    quiet = [(second, busy) for second in (20, 40, 60)]
    measure(meter, revision, (1, counts(5)), (3, busy), *quiet, (65, later))
    admin = factories.actor_with(Role.ADMIN)
    seen = selectors.traffic(admin, revision.endpoint, minutes=2, now=NOW + timedelta(seconds=90))
    (series,) = seen.series
    assert series.revision == revision.number
    assert series.total.requests == 21
    assert series.total.errors == pytest.approx(5 / 21)
    by_requests = [p for p in series.points if p.requests]
    assert [p.requests for p in by_requests] == [20, 1]
    assert by_requests[0].requests_per_second == 2
    assert by_requests[0].p99_ms == pytest.approx(4, abs=1)
    silent = next(p for p in series.points if p.requests is None)
    assert (silent.requests_per_second, silent.errors, silent.p50_ms) == (None, None, None)


def test_many_endpoints_are_summed_up_by_one_query(
    meter: MemoryMeter, revision: Revision, django_assert_num_queries: Any
) -> None:
    quiet = factories.revision()
    measure(meter, revision, (1, counts(10)))
    admin = factories.actor_with(Role.ADMIN)
    endpoints = [revision.endpoint, quiet.endpoint]
    with django_assert_num_queries(1):
        found = selectors.summaries(admin, endpoints, minutes=5, now=NOW + timedelta(seconds=30))
    assert found.keys() == {e.pk for e in endpoints}


def test_old_windows_are_dropped(meter: MemoryMeter, revision: Revision) -> None:
    measure(meter, revision, (1, counts(5)))
    assert reconcile.tidy(NOW + timedelta(hours=23)) == 0
    assert reconcile.tidy(NOW + timedelta(hours=25)) == 1


def test_a_read_that_was_overtaken_counts_nothing(meter: MemoryMeter, revision: Revision) -> None:
    measure(meter, revision, (1, counts(5)), (12, counts(9)), (9, counts(7)), (13, counts(10)))
    assert rows() == [(0, 5, 10), (10, 5, 10)]


def test_whoever_reads_on_reads_every_window_of_traffic_once(
    meter: MemoryMeter, revision: Revision
) -> None:
    read: list[selectors.TrafficSlice] = []
    after = NOW
    shown = [(second, counts(second)) for second in (1, 2, 9, 11, 13, 29, 31, 250, 251, 262, 290)]
    for moment in shown:
        measure(meter, revision, moment)
        until = selectors.measured_until(NOW + timedelta(seconds=moment[0]))
        assert until is not None
        if until > after:
            read += selectors.traffic_windows([revision.pk], after=after, until=until)
            after = until
    assert [(int((s.starts_at - NOW).total_seconds()), s.requests, s.seconds) for s in read] == [
        (0, 9, 10), (10, 4, 10), (20, 16, 10), (30, 221, 220), (250, 1, 10), (260, 11, 10),
    ]  # fmt: skip
    assert sum(sum(s.latency) for s in read) == 262
    assert selectors.traffic_windows([], after=NOW, until=after) == []
