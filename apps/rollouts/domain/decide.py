"""What a rollout does next: the whole policy of progressive delivery, as a pure function.

`decide` takes what was asked for and what was seen, and returns one action. No clock, no
database, no network: the loop calls it, does what it says, and calls it again. Two rules stand
above all others:

* What proves that the canary is bad ends the rollout, whatever state it is in.
* Nothing but proof leads on: no data, too little data and an analysis that cannot run never do.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from apps.analysis.domain.values import Answer
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import Trial
from apps.rollouts.domain.preflight import Fit, Fitting
from apps.rollouts.domain.states import ROLLOUT, RolloutMove, RolloutState
from apps.rollouts.domain.steps import Allocation, Step, Until
from apps.rollouts.domain.strategy import OnDeadline

SOON = timedelta(seconds=1)  # until the next look while something is on its way
LATER = timedelta(seconds=60)  # while a step holds; the judge and the endpoint wake us before
FOR_ROOM = timedelta(seconds=5)
FOR_A_PERSON = timedelta(seconds=30)

COMING = frozenset(
    {
        RevisionState.PENDING,
        RevisionState.STARTING,
        RevisionState.WARMING,
        RevisionState.VERIFYING,
    }
)
ON_TRIAL = frozenset({RevisionState.SHIFTING, RevisionState.LIVE})


class PauseKind(StrEnum):
    """Why a rollout stands still."""

    PERSON = "person"  # somebody paused it
    STEP = "step"  # the plan asks a person here
    DEADLINE = "deadline"  # the judge had no answer in time
    ERRORED = "errored"  # the analysis cannot run


class Outcome(StrEnum):
    """What an experiment or a bandit has come to."""

    RUNNING = "running"
    BETTER = "better"
    NOT_BETTER = "not_better"
    UNDECIDED = "undecided"  # at its horizon


@dataclass(frozen=True)
class Position:
    """Where a rollout stands, as its row remembers.

    Attributes:
        state: The rollout's.
        index: Of its step.
        pause: Why it is paused; None when it is not.
        accepted: Whether a person has said that this step is good enough.
        step_seen_at: When this step was first seen in force; None before.
        on_deadline: What happens when the judge has no answer in time.
    """

    state: RolloutState
    index: int = 0
    pause: PauseKind | None = None
    accepted: bool = False
    step_seen_at: datetime | None = None
    on_deadline: OnDeadline = OnDeadline.ASK


@dataclass(frozen=True)
class Seen:
    """What the world looks like at one moment.

    Attributes:
        at: When (UTC).
        candidate: The state of the candidate's revision.
        problem: Why the candidate failed, where it did.
        arrived: Whether the candidate is the live one, or was so since the rollout began.
        wanted: What this step asks of the endpoint.
        asked: What the endpoint was last asked; None for nothing.
        in_force: What the proxy really does; None when it does nothing with the candidate.
        in_force_since: Since when, without a break.
        restored: Whether the stable revision answers everything again, or there is none.
        answer: The judge's; None where nothing is judged.
        why: The judge's reason, one sentence.
        limit: The hard limit that was passed, one sentence; "" for none.
        broken: Why the analysis cannot run; "" when it can.
        outcome: Of the experiment or the bandit.
        outcome_why: In a sentence.
        allocation: A split that the bandit wants instead of the present one; None to keep it.
        fit: Whether both revisions fit, before the candidate starts; None when nobody has looked.
    """

    at: datetime
    candidate: RevisionState
    wanted: Trial
    problem: str = ""
    arrived: bool = False
    asked: Trial | None = None
    in_force: Trial | None = None
    in_force_since: datetime | None = None
    restored: bool = False
    answer: Answer | None = None
    why: str = ""
    limit: str = ""
    broken: str = ""
    outcome: Outcome = Outcome.RUNNING
    outcome_why: str = ""
    allocation: Allocation | None = None
    fit: Fit | None = None


@dataclass(frozen=True)
class Start:
    """Let the candidate start: there is room."""

    fit: Fit


@dataclass(frozen=True)
class Direct:
    """Ask the endpoint for what this step wants: somebody asked it for something else."""


@dataclass(frozen=True)
class Advance:
    """Go on to step `index`, because of `reason`."""

    index: int
    reason: str


@dataclass(frozen=True)
class Reallocate:
    """Split the requests as the bandit wants."""

    allocation: Allocation


@dataclass(frozen=True)
class Pause:
    """Stand still and ask a person, for `reason`."""

    kind: PauseKind
    reason: str


@dataclass(frozen=True)
class Resume:
    """Go on by itself: what it stood still for is over."""

    reason: str


@dataclass(frozen=True)
class Promote:
    """Let the candidate answer everything."""

    reason: str


@dataclass(frozen=True)
class Settle:
    """Record that the candidate was seen to answer everything."""


@dataclass(frozen=True)
class Abort:
    """Send everything back to stable, for `reason`."""

    reason: str


@dataclass(frozen=True)
class Cancel:
    """End it before anything of it has started, for `reason`."""

    reason: str


@dataclass(frozen=True)
class Restore:
    """Record that stable was seen to answer everything again."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do before `until`; `why` says what is waited for."""

    until: datetime
    why: str = ""
    fit: Fit | None = None


@dataclass(frozen=True)
class Rest:
    """Nothing will ever be done again."""


Action = (
    Start | Cancel | Direct | Advance | Reallocate | Pause | Resume | Promote | Settle | Abort
    | Restore | Wait | Rest
)  # fmt: skip


ARRIVED: dict[RolloutState, Action] = {
    RolloutState.PENDING: Start(Fit(Fitting.FITS, "It answers everything already.")),
    RolloutState.PROGRESSING: Promote("It answers everything already."),
    RolloutState.PROMOTING: Settle(),
}


def decide(position: Position, steps: tuple[Step, ...], seen: Seen) -> Action:
    """Return the one thing to do next.

    1. An end stays an end.
    2. What arrived has arrived: a candidate that became live is promoted, though another may have
       followed it since.
    3. What proves that the canary is bad ends the rollout, also a paused one.
    4. Everything else by the state.
    """
    state = position.state
    if state in ROLLOUT.terminal():
        return Rest()
    if seen.arrived and state in ARRIVED:
        return ARRIVED[state]
    bad = _bad(seen)
    if bad and RolloutMove.ABORT in ROLLOUT.moves_from(state):
        return Abort(bad)
    match state:
        case RolloutState.PENDING:
            return _begin(seen, bad)
        case RolloutState.PROGRESSING:
            return _climb(position, steps, seen)
        case RolloutState.PAUSED:
            return _stand_still(position, steps, seen)
        case RolloutState.PROMOTING:
            return _repair(seen) or Wait(seen.at + SOON, "The last requests move over.")
        case RolloutState.ROLLING_BACK:
            back = "Requests go back to the stable revision."
            return Restore() if seen.restored else Wait(seen.at + SOON, back)
        case RolloutState.PROMOTED | RolloutState.ROLLED_BACK | RolloutState.CANCELLED:
            return Rest()
        case _:
            assert_never(state)


def _bad(seen: Seen) -> str:
    """Return what proves that the candidate must not answer anybody; "" for nothing."""
    if seen.candidate not in COMING | ON_TRIAL:
        return seen.problem or "The candidate's revision ended before the rollout did."
    if seen.limit:
        return seen.limit
    return (seen.why or "The judge says that it is worse.") if seen.answer is Answer.WORSE else ""


def _begin(seen: Seen, bad: str) -> Action:
    if bad:
        return Cancel(bad)
    if seen.fit is None:
        return Wait(seen.at + SOON, "Room is looked for.")
    if seen.fit.fitting is Fitting.FITS:
        return Start(seen.fit)
    return Wait(seen.at + FOR_ROOM, seen.fit.sentence, seen.fit)


def _climb(position: Position, steps: tuple[Step, ...], seen: Seen) -> Action:
    """Go on by one step, if this one has done what it is there for."""
    if repair := _repair(seen):
        return repair
    if position.index >= len(steps):
        return Promote("")
    if seen.candidate in COMING:
        return Wait(seen.at + SOON, "The canary is not ready yet.")
    step = steps[position.index]
    if seen.in_force != seen.wanted or seen.in_force_since is None:
        return Wait(seen.at + SOON, "The proxy has not taken up this step yet.")
    if position.accepted:
        return _next(position, steps, "A person said so.")
    held_until = seen.in_force_since + step.hold
    if step.until in (Until.EXPERIMENT, Until.LEARNT):
        return _learn(position, steps, seen)
    if seen.at < held_until:
        return Wait(min(held_until, seen.at + LATER), "The step's minimum hold.")
    return _after_the_hold(position, steps, seen)


def _after_the_hold(position: Position, steps: tuple[Step, ...], seen: Seen) -> Action:
    step = steps[position.index]
    if step.until is Until.JUDGED and seen.answer is not Answer.NOT_WORSE:
        return _undecided(position, step, seen)
    if step.ask:
        return Pause(PauseKind.STEP, f"The step “{step.name}” waits for a person.")
    reason = seen.why if step.until is Until.JUDGED else "The step's hold has passed."
    return _next(position, steps, reason)


def _undecided(position: Position, step: Step, seen: Seen) -> Action:
    """Wait for the judge, until the step's time is up."""
    if seen.broken:
        return Pause(PauseKind.ERRORED, seen.broken)
    late_at = _late_at(position, step, seen)
    if late_at is None or seen.at < late_at:
        look = seen.at + LATER
        return Wait(min(late_at, look) if late_at else look, seen.why)
    reason = f"The judge had no answer in time. {seen.why}".strip()
    if position.on_deadline is OnDeadline.ABORT:
        return Abort(reason)
    return Pause(PauseKind.DEADLINE, reason)


def _late_at(position: Position, step: Step, seen: Seen) -> datetime | None:
    if step.deadline is None:
        return None
    begun = position.step_seen_at or seen.in_force_since or seen.at
    return begun + step.hold + step.deadline


def _learn(position: Position, steps: tuple[Step, ...], seen: Seen) -> Action:
    """Go on with an experiment or a bandit, as far as it has come."""
    step = steps[position.index]
    if seen.broken:
        return Pause(PauseKind.ERRORED, seen.broken)
    match seen.outcome:
        case Outcome.BETTER:
            return _next(position, steps, seen.outcome_why)
        case Outcome.NOT_BETTER:
            return Abort(seen.outcome_why)
        case Outcome.UNDECIDED:
            return _undecided(position, step, _with_reason(seen))
        case Outcome.RUNNING if seen.allocation is not None:
            return Reallocate(seen.allocation)
        case Outcome.RUNNING:
            return Wait(seen.at + LATER, seen.outcome_why)
        case _:
            assert_never(seen.outcome)


def _with_reason(seen: Seen) -> Seen:
    return Seen(
        at=seen.at, candidate=seen.candidate, wanted=seen.wanted, broken=seen.broken,
        why=seen.outcome_why, in_force_since=seen.in_force_since,
    )  # fmt: skip


def _next(position: Position, steps: tuple[Step, ...], reason: str) -> Action:
    index = position.index + 1
    return Advance(index, reason) if index < len(steps) else Promote(reason)


def _stand_still(position: Position, steps: tuple[Step, ...], seen: Seen) -> Action:
    """Keep what is in force; go on where what was waited for has come."""
    if repair := _repair(seen):
        return repair
    step = steps[position.index] if position.index < len(steps) else None
    proven = step is not None and step.until is Until.JUDGED and seen.answer is Answer.NOT_WORSE
    if position.pause is PauseKind.DEADLINE and proven:
        return Resume(seen.why)
    if position.pause is PauseKind.ERRORED and not seen.broken:
        return Resume("The analysis runs again.")
    return Wait(seen.at + FOR_A_PERSON)


def _repair(seen: Seen) -> Action | None:
    """Ask the endpoint again, when it was asked for something else."""
    return None if seen.asked == seen.wanted or seen.arrived else Direct()
