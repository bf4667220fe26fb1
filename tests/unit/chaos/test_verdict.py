"""The judge of the chaos finds what is wrong: a play that cannot fail would prove nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos import verdict
from tests.chaos.records import Asked, Event, Fate, Kill, Place, Played, Sample

START = datetime(2026, 11, 28, 12, tzinfo=UTC)
PLACE = Place("wine", "dev", "http://127.0.0.1/dev/wine")
RUNGS = ((10, 2.0), (50, 2.0))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(seconds: float, kind: str, weight: int | None = None) -> Event:
    return Event(at(seconds), kind, {"trial": {"weight": weight}} if weight else {})


def sample(seconds: float, step: int, weight: int, state: str = "progressing") -> Sample:
    return Sample(at(seconds), "r1", state, step, weight)


STORY = (
    event(0, "begun"), event(1, "fits"), event(2, "seen", 10), event(4, "advanced"),
    event(5, "seen", 50), event(7.5, "promoted"), event(9, "settled"),
)  # fmt: skip
SAMPLES = (
    sample(1, 0, 0), sample(2.5, 0, 10), sample(3.9, 0, 10), sample(4.1, 1, 10),
    sample(5.1, 1, 50), sample(7.4, 1, 50), sample(8, 2, 100, "promoting"),
)  # fmt: skip
WELL = Played(
    PLACE, Fate.GOOD, 1, 2, RUNGS, "r1", "promoted", "", "live",
    superseded=False, last=True, events=STORY,
    verbs=("begin", "start", "advance", "promote", "settle"), samples=SAMPLES,
    ended_at=at(9), until=at(100), serves=(2,) * 10,
)  # fmt: skip


def test_a_rollout_that_went_well_is_let_pass() -> None:
    assert verdict.of_rollout(WELL) == []


def test_a_candidate_without_a_server_may_lose_its_weight_for_a_while() -> None:
    broken = (*SAMPLES[:5], sample(5.2, 1, 0), sample(5.3, 1, 50), *SAMPLES[5:])
    assert verdict.of_rollout(replace(WELL, samples=broken)) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"state": "rolled_back"}, "should be promoted"),
        ({"release": "rolling_out"}, "its release is rolling_out"),
        ({"serves": (2,) * 9 + (1,)}, "v2 should answer"),
        ({"serves": ()}, "v2 should answer"),
        ({"samples": (*SAMPLES, sample(8.1, 2, 50, "promoting"))}, "fell on the way up"),
        ({"samples": (sample(2.5, 0, 50),)}, "step 0, which asks for 10"),
        ({"samples": (*SAMPLES, sample(7.2, 1, 0))}, "50 less than asked"),
        ({"events": (*STORY[:3], event(3.9, "advanced"), *STORY[4:])}, "held for 1.900 s"),
        ({"events": (*STORY[:4], event(5, "seen", 100), *STORY[5:])}, "seen at [10, 100] %"),
        ({"events": (*STORY, STORY[-1])}, "tells settled 2 times"),
        ({"events": STORY[:4]}, "1 of 2 steps"),
        ({"verbs": (*WELL.verbs, "promote")}, "the ledger tells"),
    ],
)
def test_what_is_wrong_is_found(wrong: dict[str, Any], said: str) -> None:
    assert any(said in sentence for sentence in verdict.of_rollout(replace(WELL, **wrong)))


def test_an_aborted_rollout_leaves_the_stable_version_in_place() -> None:
    events = (*STORY[:3], event(3, "aborted"), event(4, "restored"))
    verbs = ("begin", "start", "abort", "restore")
    back = replace(
        WELL, fate=Fate.ABORTED, state="rolled_back", release="rolled_back", events=events,
        verbs=verbs, samples=SAMPLES[:2], serves=(1,) * 10,
    )  # fmt: skip
    assert verdict.of_rollout(back) == []
    assert verdict.of_rollout(replace(back, serves=WELL.serves)) != []


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Asked(at(20), PLACE, 2), ""),
        (Asked(at(20), PLACE, 1), "v1 answered"),
        (Asked(at(20), PLACE, 0, "503"), ""),  # something had been killed
        (Asked(at(60), PLACE, 0, "503"), "nothing had been killed"),
        (Asked(at(60), PLACE, 0, "500", poisoned=2), ""),
        (Asked(at(95), PLACE, 0, "503"), "in the quiet"),
    ],
)
def test_a_request_is_answered_by_the_right_version_or_there_is_a_reason(
    request_: Asked, said: str
) -> None:
    kills = [Kill(at(15), "envoy", 7, 1.0)]
    found = verdict.of_traffic([request_], [WELL], kills, quiet=at(90))
    assert [said in sentence for sentence in found] == [True] * bool(said)
