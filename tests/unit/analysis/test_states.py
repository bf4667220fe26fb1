"""The life of an analysis, and what its standing means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from apps.analysis.domain.ending import Facts, move_at_end, standing
from apps.analysis.domain.states import ANALYSIS, ENDED, AnalysisMove, AnalysisState
from apps.analysis.domain.values import Answer

S, M = AnalysisState, AnalysisMove
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
LOOKING = Facts(
    state=S.RUNNING,
    answer=Answer.NOT_WORSE,
    sentence="All is well.",
    remaining_seconds=None,
    limit_hit="",
    problem="",
    remedy="",
    looked_at=NOW - timedelta(seconds=5),
)


def test_an_error_is_no_end() -> None:
    assert {S.PASSING, S.FAILING, S.INCONCLUSIVE} == ENDED
    assert M.RECOVER in ANALYSIS.moves_from(S.ERRORED)


@pytest.mark.parametrize(
    ("state", "answer", "limit", "move"),
    [
        (S.RUNNING, Answer.NOT_WORSE, "", M.PASS),
        (S.RUNNING, Answer.WORSE, "", M.FAIL),
        (S.RUNNING, Answer.NOT_YET, "", M.LEAVE),
        (S.RUNNING, Answer.NOT_WORSE, "Beyond.", M.FAIL),
        (S.RUNNING, Answer.NOT_YET, "Beyond.", M.FAIL),
        (S.ERRORED, Answer.NOT_WORSE, "", M.LEAVE),
        (S.ERRORED, Answer.WORSE, "", M.FAIL),
        (S.ERRORED, Answer.NOT_YET, "Beyond.", M.FAIL),
        (S.PENDING, Answer.NOT_YET, "", M.LEAVE),
    ],
)
def test_how_a_run_ends(state: S, answer: Answer, limit: str, move: M) -> None:
    assert move_at_end(state, answer, limit) is move


def test_every_end_is_a_legal_move() -> None:
    open_states = [s for s in S if s not in ENDED]
    for state, answer, limit in product(open_states, Answer, ["", "Beyond."]):
        assert ANALYSIS.after(state, move_at_end(state, answer, limit)) in ENDED


def test_what_looks_says_what_it_saw() -> None:
    seen = standing(LOOKING, NOW)
    assert (seen.answer, seen.sentence, seen.stale) == (Answer.NOT_WORSE, "All is well.", False)


def test_silence_is_not_yet_and_says_so() -> None:
    seen = standing(LOOKING, NOW + timedelta(seconds=60))
    assert (seen.answer, seen.stale) == (Answer.NOT_YET, True)
    assert seen.problem == seen.sentence == "Nobody has looked at the numbers for 65 s."


def test_what_has_ended_does_not_go_stale() -> None:
    seen = standing(replace(LOOKING, state=S.PASSING), NOW + timedelta(days=1))
    assert (seen.answer, seen.stale, seen.problem) == (Answer.NOT_WORSE, False, "")


@pytest.mark.parametrize("answer", Answer)
@pytest.mark.parametrize("silent", [0, 60])
def test_a_problem_never_promotes_and_never_hides_what_was_proven_worse(
    answer: Answer, silent: int
) -> None:
    facts = replace(LOOKING, state=S.ERRORED, answer=answer, problem="No.", remedy="Mend it.")
    seen = standing(facts, NOW + timedelta(seconds=silent))
    assert seen.answer is (Answer.WORSE if answer is Answer.WORSE else Answer.NOT_YET)
    assert (seen.problem, seen.remedy, seen.remaining_seconds) == ("No.", "Mend it.", None)
