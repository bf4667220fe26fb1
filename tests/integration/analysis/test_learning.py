"""What runs learn from each other, and what is kept of what they saw."""

import pytest

from apps.analysis import reconcile, selectors, services
from apps.analysis.domain.queries import Measured, Side
from apps.analysis.domain.values import Answer
from tests.integration.analysis.house import GOOD, MEMORY, ROLLOUTS, TEN, House, asked

pytestmark = pytest.mark.django_db


def test_a_run_learns_how_noisy_its_endpoint_is_from_earlier_ones() -> None:
    house = House(same=True)
    for index in range(60):  # bursts that only one side has: far more than chance explains
        house.ten_seconds(canary=(50, 20 if index % 12 == 0 else 0), step=lambda: None)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    assert house.run.next_reconcile_at is None
    house.begin(2)
    run = house.look()
    learnt = run.dispersion["errors"]
    assert learnt["from"] == "from 60 slices of 1 earlier rollout of the same bytes"
    assert (learnt["value"] > 1.5, learnt["slices"]) == (True, 60)
    assert run.dispersion["slow"]["value"] == 1


def test_a_promoted_canary_teaches_and_a_failed_one_does_not() -> None:
    house = House()
    house.until(Answer.NOT_WORSE, windows=200, **GOOD)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    house.begin(2)
    assert "1 earlier rollout that was promoted" in house.look().dispersion["errors"]["from"]
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    assert house.run.calibration is None
    house.begin(3)
    assert (
        house.look().dispersion["errors"]["from"].endswith("1 earlier rollout that was promoted")
    )


def test_another_endpoints_runs_teach_nothing() -> None:
    house = House(same=True)
    house.goes_on(10)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    assert House(number=2).look().dispersion == {}


# --- looks --------------------------------------------------------------------------------------


def test_each_look_that_saw_something_is_a_point_of_the_curves() -> None:
    house = House()
    house.goes_on(6)
    shown = selectors.looks(house.run, "errors")
    assert [(p.stable_total, p.canary_total) for p in shown] == [
        (500.0 * n, 50.0 * n) for n in range(1, 7)
    ]
    assert all(p.worse > 0 and p.not_worse > 0 for p in shown)


def test_old_looks_and_measurements_are_dropped() -> None:
    house = House(MEMORY)
    house.source.answers = {Side.STABLE: Measured(1.0), Side.CANARY: Measured(1.0)}
    asked(house)
    house.look()
    assert reconcile.tidy(house.now + reconcile.KEPT - TEN) == 0
    assert reconcile.tidy(house.now + reconcile.KEPT + TEN) == 2
