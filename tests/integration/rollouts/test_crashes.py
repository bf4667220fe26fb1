"""A worker may die at any statement: the end is the same, and no hold is cut short."""

from datetime import timedelta

import pytest

from apps.audit.models import AuditEvent
from apps.rollouts import selectors
from apps.rollouts.models import Rollout
from tests.rolling import House

pytestmark = pytest.mark.django_db

HOLD = timedelta(seconds=20)
LADDER = {
    "kind": "canary",
    "steps": [
        {"weight": w, "hold_seconds": HOLD.total_seconds(), "judge": False} for w in (10, 50)
    ],
}
STORY = ["begun", "fits", "seen", "advanced", "seen", "promoted", "settled"]


@pytest.mark.parametrize("kind", ["rollout", "endpoint"])
@pytest.mark.parametrize("statements", [3, 9, 17, 26, 41, 63, 95])
def test_a_worker_that_dies_at_any_statement_changes_nothing(kind: str, statements: int) -> None:
    house = House()
    row = house.start(house.live(rate=0), LADDER)
    house.dies_in, house.lives = kind, statements
    house.run(lambda: Rollout.objects.get(pk=row.pk).ended_at is not None)
    assert house.deaths == 1
    assert_went_well(house, row)


@pytest.mark.parametrize("call", range(1, 12))
def test_a_worker_that_dies_around_a_call_to_the_world_changes_nothing(call: int) -> None:
    house = House()
    row = house.start(house.live(rate=0), LADDER)
    house.dies_in, house.lives = "endpoint", -1
    left = [call]

    def hook(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            house.lives = 1
            house.count_down()

    house.router.hook = house.servers.hook = hook
    house.run(lambda: Rollout.objects.get(pk=row.pk).ended_at is not None)
    assert house.deaths == 1
    assert_went_well(house, row)


def assert_went_well(house: House, row: Rollout) -> None:
    assert Rollout.objects.get(pk=row.pk).state == "promoted"
    events = list(reversed(selectors.events(row)))
    assert [event.kind for event in events] == STORY
    given = [route.weight_of(2) for route in house.router.applied]
    assert given == sorted(given)
    verbs = AuditEvent.objects.filter(target=f"rollout/{row.public_id}").values_list("verb")
    assert sorted(verb.partition(".")[2] for (verb,) in verbs) == [
        "advance",
        "begin",
        "promote",
        "settle",
        "start",
    ]  # nothing was told twice
    for seen, left in ((2, 3), (4, 5)):
        assert events[left].at - events[seen].at >= HOLD
