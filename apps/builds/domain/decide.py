"""What a build does next. Pure: what is asked, what was seen, one action."""

from dataclasses import dataclass

from apps.builds.domain.job import JobReport, JobState, Problem
from apps.builds.domain.states import BUILD, BuildMove, BuildState

MOST_STARTS = 3  # a job that is lost so often is not lost by accident
S, M = BuildState, BuildMove
ENTERING = {
    "scan": S.SCANNING,
    "package": S.PACKAGING,
    "convert": S.CONVERTING,
    "optimise": S.OPTIMISING,
    "prove": S.PROVING,
}
CLIMB = (M.SCAN, M.PACKAGE, M.CONVERT, M.OPTIMISE, M.PROVE)
LADDER = (S.QUEUED, S.SCANNING, S.PACKAGING, S.CONVERTING, S.OPTIMISING, S.PROVING)


@dataclass(frozen=True)
class Start:
    """Start the job, or find the one that was started."""


@dataclass(frozen=True)
class Advance:
    """Note how far the job has come."""

    moves: tuple[BuildMove, ...]


@dataclass(frozen=True)
class Collect:
    """Take the finished bundles into the store."""


@dataclass(frozen=True)
class Succeed:
    """Record the variants and end well."""


@dataclass(frozen=True)
class Fail:
    """End, and say why."""

    problem: Problem


@dataclass(frozen=True)
class Stop:
    """End a job that nobody wants any more."""


@dataclass(frozen=True)
class Look:
    """Look again soon."""


@dataclass(frozen=True)
class Rest:
    """There is nothing left to do."""


Action = Start | Advance | Collect | Succeed | Fail | Stop | Look | Rest


def decide(state: BuildState, report: JobReport, *, collected: bool) -> Action:
    """Return what to do about a build.

    Args:
        state: Where the build is in its life; a person may have cancelled it.
        report: What the job says.
        collected: Whether the store has every bundle that the job made.
    """
    if state in (S.SUCCEEDED, S.FAILED, S.CANCELLED):
        return Stop() if report.state is JobState.RUNNING else Rest()
    match report.state:
        case JobState.ABSENT:
            return Start()
        case JobState.LOST if report.starts < MOST_STARTS:
            return Start()
        case JobState.LOST:
            return Fail(lost(report.starts))
        case JobState.FAILED:
            return Fail(report.problem or unexplained())
        case JobState.RUNNING | JobState.SUCCEEDED:
            if moves := climb(state, report):
                return Advance(moves)
    if report.state is JobState.RUNNING:
        return Look()
    if not report.variants:
        return Fail(unexplained())
    return Succeed() if collected else Collect()


def climb(state: BuildState, report: JobReport) -> tuple[BuildMove, ...]:
    """Return the moves from `state` to the step that the job has reached; empty when it is there.

    A job that has succeeded has reached the last step, whatever was seen of the way.
    """
    reached = S.PROVING if report.state is JobState.SUCCEEDED else S.QUEUED
    if report.steps:
        reached = max(reached, ENTERING.get(report.steps[-1].name, S.QUEUED), key=LADDER.index)
    return CLIMB[LADDER.index(state) : LADDER.index(reached)]


def after(state: BuildState, moves: tuple[BuildMove, ...]) -> BuildState:
    """Return where `moves` lead, one after the other."""
    for move in moves:
        state = BUILD.after(state, move)
    return state


def lost(starts: int) -> Problem:
    """Return the problem of a job that stopped without a word, again and again."""
    return Problem(
        "build.lost",
        f"The build's process disappeared {starts} times without saying why.",
        "Look whether the machine runs out of memory or restarts, then retry the build.",
    )


def unexplained() -> Problem:
    """Return the problem of a job that ended without saying why."""
    return Problem(
        "build.crashed",
        "The build's process ended without saying why.",
        "Look at the last lines of the log, then retry the build.",
    )
