"""The life of one gate's result, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class GateState(StrEnum):
    """What is known about one gate of one checklist.

    UNKNOWN never passes: nothing was measured, the measurement is too old, or it could not run.
    """

    PENDING = "pending"
    UNKNOWN = "unknown"
    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"


class GateMove(StrEnum):
    """What may happen to a gate's result."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    LOSE = "lose"  # nothing is known any more
    WAIVE = "waive"
    ASK_AGAIN = "ask again"


S, M = GateState, GateMove

GATE = StateMachine(
    name="gate",
    initial=S.PENDING,
    table={
        M.PASS: (from_any(S), S.PASSED),
        M.FAIL: (from_any(S), S.FAILED),
        M.LOSE: (from_any(S), S.UNKNOWN),
        M.WAIVE: (from_any([S.UNKNOWN, S.FAILED, S.PENDING, S.WAIVED]), S.WAIVED),
        M.ASK_AGAIN: (from_any(S), S.PENDING),
    },
)


def moves(state: GateState, target: GateState) -> list[GateMove]:
    """Return the moves that lead from one state to another; none where nothing changes.

    What is passed needs no waiver, so it is lost before it can be waived.
    """
    if state is target:
        return []
    last = next(move for move, (_, after) in GATE.table.items() if after is target)
    if last in GATE.moves_from(state):
        return [last]
    return [GateMove.LOSE, last]
