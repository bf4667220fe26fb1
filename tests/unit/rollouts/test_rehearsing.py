"""What a rehearsal decides: every step of a rollout but one forward, and a fault in between."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from apps.analysis.domain.values import Answer
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import Trial
from apps.rollouts.domain import decide as d
from apps.rollouts.domain import document
from apps.rollouts.domain import rehearsing as r
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import compile_steps

T0 = datetime(2026, 11, 28, 12, tzinfo=UTC)
STEPS = compile_steps(document.parse(r.STRATEGY))
CALM, FAULTY = Trial(2, weight=10, preview=True), Trial(2, weight=10, preview=True, faulty=True)
HERE = d.Position(RolloutState.PROGRESSING, step_seen_at=T0)


def seen(after: float, trial: Trial = CALM, **more: object) -> d.Seen:
    known = d.Seen(
        at=T0 + timedelta(seconds=after), candidate=RevisionState.SHIFTING, wanted=trial,
        asked=trial, in_force=trial, in_force_since=T0, answer=Answer.NOT_YET,
    )  # fmt: skip
    return replace(known, **more)  # type: ignore[arg-type]


def drill(**more: object) -> r.Drill:
    return replace(r.Drill(begun_at=T0), **more)  # type: ignore[arg-type]


def test_the_fault_comes_after_a_quiet_while_with_requests() -> None:
    early = r.decide(HERE, STEPS, seen(9), drill())
    assert isinstance(early, d.Wait)
    assert early.until == T0 + r.QUIET
    assert r.decide(HERE, STEPS, seen(10), drill()) == r.Break()


def test_requests_fail_until_the_judge_notices_and_never_too_many() -> None:
    at = drill(fault_at=T0 + timedelta(seconds=10))
    assert r.decide(HERE, STEPS, seen(12, FAULTY), at) == r.Ask(r.AT_ONCE)
    nearly = replace(at, sent=r.MOST - 2)
    assert r.decide(HERE, STEPS, seen(12, FAULTY), nearly) == r.Ask(2)
    assert isinstance(r.decide(HERE, STEPS, seen(12, FAULTY), replace(at, sent=r.MOST)), d.Wait)
    bad = seen(14, FAULTY, limit="It failed 10 of 12 requests.")
    assert r.decide(HERE, STEPS, bad, at) == d.Abort("It failed 10 of 12 requests.")


def test_nothing_is_asked_before_the_proxy_has_the_fault() -> None:
    at = drill(fault_at=T0)
    waits = r.decide(HERE, STEPS, seen(2, FAULTY, in_force=CALM), at)
    assert isinstance(waits, d.Wait)
    assert isinstance(r.decide(HERE, STEPS, seen(2, FAULTY, asked=CALM), at), d.Direct)


def test_it_goes_back_by_itself_when_nobody_notices_or_it_comes_to_nothing() -> None:
    late = r.decide(HERE, STEPS, seen(130, FAULTY), drill(fault_at=T0))
    assert late == d.Abort(r.UNNOTICED)
    coming = seen(901, candidate=RevisionState.STARTING, in_force=None)
    assert r.decide(HERE, STEPS, coming, drill()) == d.Abort(r.NEVER_CAME)


@pytest.mark.parametrize(("told", "after", "restores"), [
    (True, 1, True), (False, 1, False), (False, 29, False), (False, 31, True),
])  # fmt: skip
def test_the_end_waits_for_the_alarm_and_not_for_ever(
    told: bool, after: float, restores: bool
) -> None:
    back = d.Position(RolloutState.ROLLING_BACK, step_seen_at=T0)
    done = seen(after, restored=True, candidate=RevisionState.DRAINING)
    action = r.decide(back, STEPS, done, drill(fault_at=T0, alarm_at=T0, told=told))
    assert isinstance(action, d.Restore) is restores


FORWARD = (d.Advance, d.Promote, d.Settle, d.Pause, d.Reallocate)


@pytest.mark.parametrize("state", RolloutState)
def test_nothing_that_is_seen_leads_a_rehearsal_on(state: RolloutState) -> None:
    situations = product(
        (0.0, 60.0, 4_000.0, 9_000.0), RevisionState, Answer, ("", "broken"), (False, True),
        (False, True), (None, T0),
    )  # fmt: skip
    for after, candidate, answer, broken, arrived, accepted, fault in situations:
        position = d.Position(state, accepted=accepted, step_seen_at=T0)
        trial = FAULTY if fault else CALM
        at = seen(after, trial, candidate=candidate, answer=answer, broken=broken, arrived=arrived)
        action = r.decide(position, STEPS, at, drill(fault_at=fault))
        assert not isinstance(action, FORWARD), (action, position, at)
