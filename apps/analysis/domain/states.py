"""The life of an analysis, as a table.

What the evidence says is the run's answer, a column of its own; the state says whether it can
look at all. "Errored" is neither an answer nor an end: it says why, and tries again.
"""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class AnalysisState(StrEnum):
    """Where an analysis is in its life."""

    PENDING = "pending"  # nobody has looked yet
    RUNNING = "running"
    ERRORED = "errored"  # something that it asks cannot be asked now
    PASSING = "passing"  # ended with a canary that is not worse
    FAILING = "failing"  # ended with one that is worse, or beyond a hard limit
    INCONCLUSIVE = "inconclusive"  # ended before anything was proven


class AnalysisMove(StrEnum):
    """What may happen to an analysis."""

    START = "start"
    FAULT = "fault"
    RECOVER = "recover"
    PASS = "pass"  # noqa: S105  # a move, not a word to get in by
    FAIL = "fail"
    LEAVE = "leave"


S, M = AnalysisState, AnalysisMove

ANALYSIS = StateMachine(
    name="analysis run",
    initial=S.PENDING,
    table={
        M.START: (from_any([S.PENDING]), S.RUNNING),
        M.FAULT: (from_any([S.PENDING, S.RUNNING]), S.ERRORED),
        M.RECOVER: (from_any([S.ERRORED]), S.RUNNING),
        # Not from "errored": what could not look to the end has not been passed.
        M.PASS: (from_any([S.RUNNING]), S.PASSING),
        M.FAIL: (from_any([S.RUNNING, S.ERRORED]), S.FAILING),
        M.LEAVE: (from_any([S.PENDING, S.RUNNING, S.ERRORED]), S.INCONCLUSIVE),
    },
)
ENDED = ANALYSIS.terminal()
