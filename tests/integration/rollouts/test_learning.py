"""Rollouts that learn which side is better, through the real loop: bandits and experiments."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from apps.rollouts import planning
from apps.rollouts.models import Rollout, RolloutEvent
from controlplane.kernel.figures import THIN
from tests.rolling import House

pytestmark = pytest.mark.django_db

ACCEPTED = {"name": "accepted"}
STABLE, CANARY = 1, 2  # revisions
BANDIT = {
    "kind": "bandit", "metric": ACCEPTED, "floor": 10, "every_seconds": 60,
    "horizon_seconds": 900,
}  # fmt: skip
BY_COUNTRY = {**BANDIT, "segments": {"header": "x-country", "values": ["de", "fr"]}}
EXPERIMENT = {
    "kind": "ab", "metric": ACCEPTED, "hypothesis": "More people accept.",
    "sticky": {"by": "header", "name": "x-user"}, "least_effect": 0.02, "horizon_seconds": 600,
}  # fmt: skip


@pytest.fixture
def house() -> House:
    return House()


def begin(
    house: House, strategy: Mapping[str, Any], rewards: Mapping[str, Mapping[int, float]]
) -> Rollout:
    """Return a rollout whose callers tell by segment what share of each side they accepted."""
    return house.start(house.live(rate=60, rewards=rewards), strategy)


def fresh(row: Rollout) -> Rollout:
    return Rollout.objects.get(pk=row.pk)


def moved(row: Rollout) -> list[str]:
    told = RolloutEvent.objects.filter(rollout=row, kind="reallocated").order_by("id")
    return [event.sentence for event in told]


def split(row: Rollout) -> dict[str, int]:
    """Return the weights in force, by segment."""
    row.endpoint.refresh_from_db()
    seen = row.endpoint.trial_seen
    return {each["value"]: each["weight"] for each in seen["segments"]}


@pytest.mark.parametrize(
    ("canary", "state"), [(0.3, "promoted"), (0.1, "rolled_back")], ids=["better", "worse"]
)
def test_a_bandit_chooses_the_better_side_for_everybody(
    house: House, canary: float, state: str
) -> None:
    row = begin(house, BANDIT, {"": {STABLE: 0.2, CANARY: canary}})
    house.run(lambda: fresh(row).ended_at is not None)
    assert fresh(row).state == state
    chosen = CANARY if state == "promoted" else STABLE
    told = RolloutEvent.objects.filter(
        rollout=row, reason__contains=f"Revision {chosen} is chosen"
    )
    assert told.exists()


def test_each_segment_of_a_bandit_goes_its_own_way_and_a_person_is_asked(house: House) -> None:
    row = begin(
        house, BY_COUNTRY,
        {"de": {STABLE: 0.2, CANARY: 0.4}, "fr": {STABLE: 0.4, CANARY: 0.2}},
    )  # fmt: skip
    house.run(lasting=timedelta(minutes=8))
    assert fresh(row).state == "progressing", "what is better for one is worse for the other"
    assert split(row) == {"de": 90, "fr": 10}
    assert "one for all would cost" in fresh(row).waits_for
    assert f"90{THIN}% of “de”, 10{THIN}% of “fr” and" in moved(row)[-1]
    house.run(lambda: fresh(row).state == "paused")
    assert fresh(row).pause == "deadline"
    assert "The time is over" in fresh(row).pause_reason


def test_a_segment_that_nobody_named_is_the_rest(house: House) -> None:
    row = begin(
        house, {**BANDIT, "segments": {"header": "x-country", "values": ["de"]}},
        {"de": {STABLE: 0.4, CANARY: 0.2}, "it": {STABLE: 0.2, CANARY: 0.4}},
    )  # fmt: skip
    house.run(lasting=timedelta(minutes=8))
    assert split(row) == {"de": 10}
    assert fresh(row).candidate.observed_weight == 90


def test_a_bandit_of_which_nobody_tells_anything_keeps_its_weights(house: House) -> None:
    row = begin(house, BANDIT, {})
    house.run(lasting=timedelta(minutes=3))
    assert fresh(row).state == "progressing"
    assert moved(row) == []
    assert "100 observations" in fresh(row).waits_for


@pytest.mark.parametrize(
    ("canary", "state"), [(0.35, "promoted"), (0.1, "rolled_back")], ids=["better", "worse"]
)
def test_an_experiment_ends_as_soon_as_its_answer_is_proven(
    house: House, canary: float, state: str
) -> None:
    row = begin(house, EXPERIMENT, {"": {STABLE: 0.2, CANARY: canary}})
    house.run(lambda: fresh(row).ended_at is not None)
    assert fresh(row).state == state
    assert fresh(row).ended_at < row.created_at + timedelta(seconds=600)


def test_an_experiment_without_an_answer_asks_a_person_at_its_horizon(house: House) -> None:
    row = begin(house, EXPERIMENT, {"": {STABLE: 0.2, CANARY: 0.21}})
    house.run(lambda: fresh(row).state == "paused")
    assert fresh(row).pause == "deadline"


def test_the_judge_follows_a_reward_unless_it_is_compared_within_segments(house: House) -> None:
    row = begin(house, BANDIT, {})
    by_country = begin(house, BY_COUNTRY, {})
    followed, others = (
        [metric["name"] for metric in planning.analysis_plan(each)["metrics"]]
        for each in (row, by_country)
    )
    assert [*others, "accepted"] == followed
    assert "errors" in others
