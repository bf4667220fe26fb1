"""Every case of known, too old, missing and waived."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.gates.domain import due, evaluate
from apps.gates.domain.catalogue import CATALOGUE, Gate
from apps.gates.domain.evaluate import ChecklistVerdict, Excuse, Known
from apps.gates.domain.finding import Verdict
from apps.gates.domain.states import GATE, GateState, moves

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STATES = list(GateState)


def known(verdict: Verdict, *, days_ago: float, expires_in: float | None = None) -> Known:
    expires = None if expires_in is None else NOW + expires_in * DAY
    return Known(verdict, NOW - days_ago * DAY, expires)


def waiver(*, ends_in: float, withdrawn: bool = False) -> Excuse:
    return Excuse(NOW + ends_in * DAY, withdrawn=withdrawn)


@pytest.mark.parametrize(
    ("what", "of", "expected"),
    [
        ("missing", None, GateState.UNKNOWN),
        ("passed, young", known(Verdict.PASSED, days_ago=1), GateState.PASSED),
        ("passed, as old as allowed", known(Verdict.PASSED, days_ago=30), GateState.UNKNOWN),
        ("passed, too old", known(Verdict.PASSED, days_ago=31), GateState.UNKNOWN),
        ("passed, expired", known(Verdict.PASSED, days_ago=1, expires_in=-1), GateState.UNKNOWN),
        (
            "passed, expires now",
            known(Verdict.PASSED, days_ago=1, expires_in=0),
            GateState.UNKNOWN,
        ),
        ("passed, not yet", known(Verdict.PASSED, days_ago=1, expires_in=1), GateState.PASSED),
        ("failed", known(Verdict.FAILED, days_ago=1), GateState.FAILED),
        ("failed, too old", known(Verdict.FAILED, days_ago=31), GateState.UNKNOWN),
        ("unknown", known(Verdict.UNKNOWN, days_ago=1), GateState.UNKNOWN),
    ],
)
def test_a_gate_is_what_is_known_of_it(what: str, of: Known | None, expected: GateState) -> None:
    assert evaluate.evaluate(of, None, max_age=30 * DAY, now=NOW) is expected, what


KNOWNS = [
    None,
    *(
        known(verdict, days_ago=ago, expires_in=ends)
        for verdict, ago, ends in itertools.product(Verdict, (0, 5, 40), (None, -1, 1))
    ),
]
WAIVERS = [
    None,
    *(waiver(ends_in=e, withdrawn=w) for e, w in itertools.product((-1, 0, 1), (True, False))),
]


@pytest.mark.parametrize(("of", "excuse"), itertools.product(KNOWNS, WAIVERS))
def test_nothing_but_young_evidence_or_a_waiver_in_force_is_good(
    of: Known | None, excuse: Excuse | None
) -> None:
    state = evaluate.evaluate(of, excuse, max_age=30 * DAY, now=NOW)
    young = (
        of is not None
        and NOW - of.measured_at < 30 * DAY
        and (of.expires_at is None or of.expires_at > NOW)
    )
    shown = young and of is not None and of.verdict is Verdict.PASSED
    excused = excuse is not None and not excuse.withdrawn and excuse.expires_at > NOW
    if shown:
        assert state is GateState.PASSED
    elif excused:
        assert state is GateState.WAIVED
    else:
        assert state in (GateState.UNKNOWN, GateState.FAILED)
    assert state is not GateState.PENDING


@given(
    verdict=st.sampled_from(Verdict),
    ago=st.timedeltas(timedelta(0), timedelta(days=400)),
    limit=st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
    later=st.timedeltas(timedelta(0), timedelta(days=400)),
)
def test_time_alone_never_makes_a_gate_better(
    verdict: Verdict, ago: timedelta, limit: timedelta, later: timedelta
) -> None:
    of = Known(verdict, NOW - ago)
    first = evaluate.evaluate(of, None, max_age=limit, now=NOW)
    then = evaluate.evaluate(of, None, max_age=limit, now=NOW + later)
    assert then is first or then is GateState.UNKNOWN


@given(states=st.lists(st.sampled_from(STATES)))
def test_a_checklist_passes_only_when_every_required_gate_is_passed_or_waived(
    states: list[GateState],
) -> None:
    good = all(s in (GateState.PASSED, GateState.WAIVED) for s in states)
    assert (evaluate.verdict(states) is ChecklistVerdict.PASSED) == good


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], ChecklistVerdict.PASSED),
        ([GateState.PASSED, GateState.UNKNOWN], ChecklistVerdict.UNKNOWN),
        ([GateState.UNKNOWN, GateState.PENDING], ChecklistVerdict.PENDING),
        ([GateState.PENDING, GateState.FAILED], ChecklistVerdict.FAILED),
        ([GateState.WAIVED, GateState.PASSED], ChecklistVerdict.PASSED),
    ],
)
def test_the_worst_state_decides(states: list[GateState], expected: ChecklistVerdict) -> None:
    assert evaluate.verdict(states) is expected


@pytest.mark.parametrize(("start", "end"), itertools.product(STATES, STATES))
def test_every_state_is_reached_from_every_other_by_legal_moves(
    start: GateState, end: GateState
) -> None:
    state = start
    for move in moves(start, end):
        state = GATE.after(state, move)
    assert state is end


@given(
    gate=st.sampled_from(sorted(CATALOGUE.values(), key=lambda g: g.name)),
    verdict=st.sampled_from(Verdict),
    left=st.timedeltas(timedelta(seconds=1), timedelta(days=90)),
    cheap=st.booleans(),
)
def test_the_next_look_is_always_ahead(
    gate: Gate, verdict: Verdict, left: timedelta, cheap: bool
) -> None:
    at = due.next_look(gate, verdict, until=NOW + left, max_age=90 * DAY, cheap=cheap, now=NOW)
    if verdict is Verdict.PASSED:
        assert at is not None
        assert at <= NOW + left


def test_the_end_of_a_waiver_is_said_a_day_before_or_half_way() -> None:
    assert due.warn_at(NOW, NOW + 14 * DAY) == NOW + 13 * DAY
    assert due.warn_at(NOW, NOW + DAY) == NOW + DAY / 2
