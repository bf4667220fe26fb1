"""The policy of a rollout, over every situation that its parts can be in together."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from apps.analysis.domain.values import Answer
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import Trial
from apps.rollouts.domain import decide as d
from apps.rollouts.domain.decide import Outcome, PauseKind, Position, Seen
from apps.rollouts.domain.preflight import Fit, Fitting
from apps.rollouts.domain.states import ROLLOUT, RolloutMove, RolloutState
from apps.rollouts.domain.steps import Allocation, Step, Until
from apps.rollouts.domain.strategy import OnDeadline

S, R = RolloutState, RevisionState
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOLD, DEADLINE = timedelta(minutes=2), timedelta(minutes=10)
LADDER = (
    Step(5, HOLD, Until.JUDGED, deadline=DEADLINE),
    Step(25, HOLD, Until.JUDGED, deadline=DEADLINE),
    Step(50, HOLD, Until.JUDGED, ask=True, deadline=DEADLINE),
)
CANDIDATES = (R.PENDING, R.STARTING, R.SHIFTING, R.LIVE, R.FAILED)
WANTED = Trial(2, weight=5)
FITS = Fit(Fitting.FITS)
MOVE_OF = {
    d.Start: RolloutMove.START, d.Cancel: RolloutMove.CANCEL, d.Pause: RolloutMove.PAUSE,
    d.Resume: RolloutMove.RESUME, d.Promote: RolloutMove.PROMOTE, d.Settle: RolloutMove.SETTLE,
    d.Abort: RolloutMove.ABORT, d.Restore: RolloutMove.RESTORE,
}  # fmt: skip


def position(state: RolloutState = S.PROGRESSING, index: int = 0, **more: object) -> Position:
    paused = {"pause": PauseKind.PERSON} if state is S.PAUSED else {}
    return Position(state, index, **{**paused, **more})  # type: ignore[arg-type]


def seen(held: timedelta | None = HOLD, **more: object) -> Seen:
    in_force = {} if held is None else {"in_force": WANTED, "in_force_since": NOW - held}
    known = {"candidate": R.SHIFTING, "wanted": WANTED, "asked": WANTED, "fit": FITS, **in_force}
    return Seen(at=NOW, **{**known, **more})  # type: ignore[arg-type]


def decide(at: Position, what: Seen, steps: tuple[Step, ...] = LADDER) -> d.Action:
    return d.decide(at, steps, what)


def situations() -> Iterator[tuple[Position, Seen]]:
    """Yield every combination of what matters: about 60,000."""
    for what in sights():
        held = what.in_force_since
        for state, index, accepted in product(S, (0, 2, len(LADDER)), (False, True)):
            for pause in PauseKind if state is S.PAUSED else (None,):
                yield (
                    Position(state, index, pause=pause, accepted=accepted, step_seen_at=held),
                    what,
                )


def sights() -> Iterator[Seen]:
    for held, answer, candidate, broken, limit, arrived, asked in product(
        (None, timedelta(0), HOLD, HOLD + DEADLINE), (None, *Answer), CANDIDATES,
        ("", "Prometheus does not answer."), ("", "The error rate pages."), (False, True),
        (None, WANTED),
    ):  # fmt: skip
        yield seen(
            held, answer=answer, candidate=candidate, broken=broken, limit=limit,
            arrived=arrived, asked=asked, restored=arrived, why="As seen.",
        )  # fmt: skip


def test_every_situation_has_a_legal_answer_that_proof_alone_leads_upward() -> None:
    for at, what in situations():
        action = decide(at, what)
        _is_legal(at, action)
        _leads_upward_by_proof_alone(at, what, action)
        _ends_what_is_bad(at, what, action)


def _is_legal(at: Position, action: d.Action) -> None:
    move = MOVE_OF.get(type(action))
    if move is not None:
        assert move in ROLLOUT.moves_from(at.state), (at, action)
    if isinstance(action, d.Advance | d.Reallocate):
        assert at.state is S.PROGRESSING
    if isinstance(action, d.Rest):
        assert at.state in ROLLOUT.terminal()


def _leads_upward_by_proof_alone(at: Position, what: Seen, action: d.Action) -> None:
    """The rule above all others: unknown never promotes."""
    if not isinstance(action, d.Advance | d.Promote) or what.arrived:
        return
    if at.index >= len(LADDER):
        return  # nothing is left to be judged
    assert what.in_force == what.wanted
    proven = what.answer is Answer.NOT_WORSE
    assert at.accepted or proven, (at, what, action)
    assert what.answer is not Answer.WORSE
    assert not what.limit
    if isinstance(action, d.Advance):
        assert action.index == at.index + 1
    if not at.accepted:
        assert what.in_force_since is not None
        assert what.at - what.in_force_since >= HOLD
        assert not LADDER[at.index].ask


def _ends_what_is_bad(at: Position, what: Seen, action: d.Action) -> None:
    bad = what.answer is Answer.WORSE or what.limit or what.candidate is R.FAILED
    abortable = at.state in (S.PROGRESSING, S.PAUSED, S.PROMOTING)
    if bad and abortable and not what.arrived:
        assert isinstance(action, d.Abort), (at, what, action)


@pytest.mark.parametrize("answer", [None, Answer.NOT_YET])
def test_without_an_answer_a_step_waits_and_at_its_deadline_asks(answer: Answer | None) -> None:
    waits = decide(position(), seen(HOLD, answer=answer, why="No traffic yet."))
    assert isinstance(waits, d.Wait)
    assert waits.why == "No traffic yet."
    late = decide(position(), seen(HOLD + DEADLINE, answer=answer, why="No traffic yet."))
    assert late == d.Pause(PauseKind.DEADLINE, "The judge had no answer in time. No traffic yet.")


def test_the_policy_may_abort_at_the_deadline_instead_of_asking() -> None:
    at = position(on_deadline=OnDeadline.ABORT)
    assert isinstance(decide(at, seen(HOLD + DEADLINE, answer=Answer.NOT_YET)), d.Abort)


def test_the_deadline_runs_from_the_first_time_that_the_step_was_seen() -> None:
    """A hold that begins again, since the route was altered, must not put it off for ever."""
    at = position(step_seen_at=NOW - HOLD - DEADLINE)
    assert isinstance(decide(at, seen(HOLD, answer=Answer.NOT_YET)), d.Pause)


def test_a_hold_is_counted_from_what_was_seen_without_a_break() -> None:
    at = position(step_seen_at=NOW - 2 * HOLD)
    action = decide(at, seen(HOLD / 2, answer=Answer.NOT_WORSE))
    assert isinstance(action, d.Wait)
    assert action.until <= NOW + HOLD / 2


def test_an_analysis_that_cannot_run_pauses_and_goes_on_when_it_can() -> None:
    broken = seen(HOLD, answer=Answer.NOT_YET, broken="Prometheus does not answer.")
    assert decide(position(), broken) == d.Pause(PauseKind.ERRORED, "Prometheus does not answer.")
    paused = position(S.PAUSED, pause=PauseKind.ERRORED)
    assert isinstance(decide(paused, broken), d.Wait)
    assert isinstance(decide(paused, replace(broken, broken="")), d.Resume)


def test_a_pause_at_the_deadline_ends_by_itself_once_the_judge_knows() -> None:
    paused = position(S.PAUSED, pause=PauseKind.DEADLINE)
    assert isinstance(decide(paused, seen(HOLD, answer=Answer.NOT_YET)), d.Wait)
    assert isinstance(decide(paused, seen(HOLD, answer=Answer.NOT_WORSE)), d.Resume)


@pytest.mark.parametrize("kind", [PauseKind.PERSON, PauseKind.STEP])
def test_what_waits_for_a_person_waits_for_a_person(kind: PauseKind) -> None:
    action = decide(position(S.PAUSED, pause=kind), seen(HOLD + DEADLINE, answer=Answer.NOT_WORSE))
    assert isinstance(action, d.Wait)


def test_a_paused_canary_that_fails_is_aborted() -> None:
    bad = seen(HOLD, candidate=R.FAILED, problem="no such operator")
    assert decide(position(S.PAUSED), bad) == d.Abort("no such operator")


def test_a_step_that_asks_is_left_by_a_person_alone() -> None:
    proven = seen(HOLD, answer=Answer.NOT_WORSE)
    asks = decide(position(index=2), proven)
    assert isinstance(asks, d.Pause)
    assert asks.kind is PauseKind.STEP
    assert isinstance(decide(position(index=2, accepted=True), proven), d.Promote)


def test_what_a_person_accepted_still_has_to_be_in_force_first() -> None:
    assert isinstance(decide(position(accepted=True), seen(None)), d.Wait)
    assert decide(position(accepted=True), seen(timedelta(0))) == d.Advance(1, "A person said so.")


def test_nothing_starts_before_it_fits() -> None:
    no = Fit(Fitting.NOT, "It does not fit.", "Ask for fewer replicas.")
    waits = decide(position(S.PENDING), seen(None, candidate=R.PENDING, fit=no))
    assert isinstance(waits, d.Wait)
    assert (waits.why, waits.fit) == ("It does not fit.", no)
    outage = Fit(Fitting.BY_RECREATE, "Only with an outage.")
    assert isinstance(
        decide(position(S.PENDING), seen(None, candidate=R.PENDING, fit=outage)), d.Wait
    )
    assert decide(position(S.PENDING), seen(None, candidate=R.PENDING)) == d.Start(FITS)


def test_a_candidate_that_is_gone_before_the_start_cancels() -> None:
    assert isinstance(decide(position(S.PENDING), seen(None, candidate=R.DRAINING)), d.Cancel)


def test_an_endpoint_that_was_asked_for_something_else_is_asked_again() -> None:
    other = seen(HOLD, asked=Trial(2, weight=50), answer=Answer.NOT_WORSE)
    assert decide(position(), other) == d.Direct()
    assert decide(position(S.PAUSED), other) == d.Direct()


def test_without_steps_it_promotes_at_once() -> None:
    coming = seen(None, candidate=R.STARTING)
    assert isinstance(decide(position(), coming, ()), d.Promote)
    assert isinstance(decide(position(S.PROMOTING), coming, ()), d.Wait)
    assert decide(position(S.PROMOTING), seen(HOLD, arrived=True), ()) == d.Settle()


def test_going_back_ends_when_stable_is_seen_to_answer_everything() -> None:
    gone = seen(HOLD, candidate=R.DRAINING)
    assert isinstance(decide(position(S.ROLLING_BACK), gone), d.Wait)
    assert decide(position(S.ROLLING_BACK), replace(gone, restored=True)) == d.Restore()


BANDIT = (Step(50, timedelta(0), Until.LEARNT, deadline=DEADLINE),)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.BETTER, d.Promote),
        (Outcome.NOT_BETTER, d.Abort),
        (Outcome.UNDECIDED, d.Pause),
        (Outcome.RUNNING, d.Wait),
    ],
)
def test_an_experiment_ends_by_its_outcome(outcome: Outcome, kind: type) -> None:
    what = seen(HOLD + DEADLINE, outcome=outcome, outcome_why="So it is.")
    assert isinstance(decide(position(), what, BANDIT), kind)


def test_a_bandit_moves_its_split_while_it_learns() -> None:
    split = Allocation(30, {"eu": 80})
    what = seen(HOLD, allocation=split)
    assert decide(position(), what, BANDIT) == d.Reallocate(split)
    assert isinstance(decide(position(S.PAUSED), what, BANDIT), d.Wait)


def test_a_bandit_whose_metric_cannot_be_read_pauses() -> None:
    what = seen(HOLD, allocation=Allocation(30), broken="No answer.")
    assert isinstance(decide(position(), what, BANDIT), d.Pause)
