"""Every situation a release can be in: one legal step, and no way around the gates."""

import itertools
from dataclasses import replace

import pytest

from apps.approvals.domain.states import RequestState
from apps.releases.domain.journey import (
    MOVES,
    BuildStanding,
    ChecklistStanding,
    Facts,
    Ground,
    Step,
    decide,
    may_start,
)
from apps.releases.domain.states import RELEASE, ReleaseState
from apps.rollouts.domain.states import RolloutState

FLAGS = (False, True)
READY = Facts(
    ReleaseState.AUTHORIZED, BuildStanding.READY, variant_chosen=True,
    checklist=ChecklistStanding.PASSED, request=RequestState.GRANTED,
    same_digests=True, same_authorized=True,
)  # fmt: skip


def everything() -> list[Facts]:
    """Return every combination that the step can depend on: 71,680 situations."""
    whole = itertools.product(
        ReleaseState, (BuildStanding.RUNNING, BuildStanding.READY), FLAGS, ChecklistStanding,
        Ground, (None, *RequestState), FLAGS, FLAGS,
    )  # fmt: skip
    return [
        Facts(state, build, variant, checklist, ground, request, same, authorized)
        for state, build, variant, checklist, ground, request, same, authorized in whole
    ]


SITUATIONS = everything()


def test_every_step_is_a_legal_move() -> None:
    for facts in SITUATIONS:
        for more in ({}, {"expired": True}, {"overtaken": True}, {"opening": False}):
            seen = replace(facts, **more)  # type: ignore[arg-type]
            step = decide(seen)
            if step in MOVES:
                RELEASE.after(facts.state, MOVES[step])


def test_nothing_starts_without_passed_gates_and_the_policy_s_yes() -> None:
    for facts in SITUATIONS:
        if facts.ground in (Ground.EMERGENCY, Ground.ROLL_BACK):
            continue
        if decide(facts) is Step.START or may_start(facts):
            assert facts.state is ReleaseState.AUTHORIZED
            assert facts.checklist is ChecklistStanding.PASSED
            assert facts.same_authorized
            if facts.ground is Ground.SEATS:
                assert facts.request is RequestState.GRANTED
                assert facts.same_digests


def test_nothing_is_authorized_without_passed_gates_and_the_policy_s_yes() -> None:
    for facts in SITUATIONS:
        if decide(facts) is not Step.AUTHORIZE or facts.ground in (
            Ground.EMERGENCY,
            Ground.ROLL_BACK,
        ):
            continue
        assert facts.checklist is ChecklistStanding.PASSED
        if facts.ground is Ground.SEATS:
            assert facts.request is RequestState.GRANTED
            assert facts.same_digests


def test_what_decide_starts_may_start() -> None:
    for facts in SITUATIONS:
        if decide(facts) is Step.START:
            assert may_start(facts), facts


@pytest.mark.parametrize("rollout", [None, *RolloutState])
def test_a_rollout_s_end_is_the_release_s(rollout: RolloutState | None) -> None:
    step = decide(Facts(ReleaseState.ROLLING_OUT, rollout=rollout))
    ends = {
        RolloutState.PROMOTED: Step.GO_LIVE,
        RolloutState.ROLLED_BACK: Step.ROLLED_BACK,
        RolloutState.CANCELLED: Step.ROLLED_BACK,
    }
    assert step is ends.get(rollout, Step.WAIT) if rollout else step is Step.WAIT


def test_a_release_comes_to_rest_or_waits_for_somebody() -> None:
    """Following its own steps, with nothing else changing, no release goes in circles."""
    for facts in SITUATIONS:
        seen: list[ReleaseState] = []
        for _ in range(12):
            step = decide(facts)
            if step in (Step.WAIT, Step.REST):
                break
            facts = after(facts, step)
            seen.append(facts.state)
        else:
            raise AssertionError(f"{facts}: {seen}")


def after(facts: Facts, step: Step) -> Facts:
    state = RELEASE.after(facts.state, MOVES[step]) if step in MOVES else facts.state
    facts = replace(facts, state=state)
    match step:
        case Step.CHOOSE_VARIANT:
            return replace(facts, variant_chosen=True)
        case Step.OPEN_CHECKLIST:
            return replace(facts, checklist=ChecklistStanding.OPEN)
        case Step.VOID:
            return replace(facts, request=RequestState.VOIDED)
        case Step.ASK if facts.request not in (RequestState.OPEN, RequestState.GRANTED):
            return replace(facts, request=RequestState.OPEN, same_digests=True)
        case Step.AUTHORIZE:
            return replace(facts, same_authorized=True)
        case _:
            return facts


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({}, Step.START),
        ({"opening": False}, Step.WAIT),
        ({"endpoint_busy": True}, Step.WAIT),
        ({"same_digests": False}, Step.VOID),
        ({"same_authorized": False}, Step.BACK_TO_CHECKS),
        ({"checklist": ChecklistStanding.OPEN}, Step.BACK_TO_CHECKS),
        ({"request": RequestState.OPEN}, Step.BACK_TO_APPROVAL),
        ({"request": RequestState.VOIDED}, Step.BACK_TO_CHECKS),
        ({"overtaken": True}, Step.SUPERSEDE),
        ({"expired": True}, Step.EXPIRE),
    ],
)
def test_what_holds_an_authorized_release(change: dict[str, object], step: Step) -> None:
    assert decide(replace(READY, **change)) is step  # type: ignore[arg-type]


def test_a_freeze_holds_back_neither_an_emergency_nor_going_back() -> None:
    for ground in (Ground.EMERGENCY, Ground.ROLL_BACK):
        assert decide(replace(READY, ground=ground, opening=False)) is Step.START
