"""What an analysis makes of no traffic, of traffic too early, and of what nobody has read yet."""

from datetime import timedelta

import pytest

from apps.analysis.domain.looking import NO_STABLE
from apps.analysis.models import AnalysisRun, Look
from tests.integration.analysis.house import TEN, House

pytestmark = pytest.mark.django_db


def test_no_traffic_is_not_yet_however_long_it_lasts() -> None:
    house = House()
    run = house.goes_on(30, stable=None, canary=None)
    assert (run.answer, run.remaining_seconds, run.state) == ("not_yet", None, "running")
    assert house.counted() == (0, 0)
    assert not Look.objects.exists()


def test_traffic_that_only_stable_gets_proves_nothing() -> None:
    house = House()
    run = house.goes_on(30, canary=None)
    assert (run.answer, house.counted()) == ("not_yet", (15_000, 0))


def test_a_proxy_that_nobody_reads_is_not_taken_for_silence() -> None:
    house = House()
    house.goes_on(3)
    until = house.run.consumed_until
    for _ in range(12):
        house.now += TEN
        house.look()
    assert house.run.consumed_until == until
    assert house.counted() == (1500, 150)


def test_without_a_stable_revision_only_hard_limits_hold() -> None:
    house = House(stable=False)
    run = house.goes_on(30, stable=None)
    assert (run.answer, run.sentence) == ("not_yet", NO_STABLE)
    house.goes_on(1, stable=None, canary=(400, 390))
    assert "failed 390 of 600 requests" in house.run.limit_hit


def test_the_window_that_still_fills_is_no_evidence() -> None:
    house = House()
    house.goes_on(2)
    house.window("stable", 500, 1)
    house.window("canary", 50, 2)
    house.look()
    assert house.counted() == (1000, 100)


def test_windows_that_began_before_the_run_do_not_count() -> None:
    house = House()
    AnalysisRun.objects.all().delete()
    for _ in range(3):
        house.ten_seconds(canary=(50, 50), step=lambda: None)
    house.now += timedelta(seconds=4)
    house.begin(2)
    house.now -= timedelta(seconds=4)
    house.ten_seconds(canary=(50, 50), step=lambda: None)
    house.goes_on(1)
    assert (house.counted(), house.run.limit_hit) == ((500, 50), "")


def test_what_came_while_no_worker_looked_is_looked_at_afterwards() -> None:
    house = House()
    house.goes_on(2)
    for _ in range(30):
        house.ten_seconds(step=lambda: None)
    assert house.standing.stale
    house.look()
    assert (house.counted(), house.standing.stale) == ((32 * 500, 32 * 50), False)
