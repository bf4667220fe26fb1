"""The life of a rollout, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class RolloutState(StrEnum):
    """Where a rollout is in its life."""

    PENDING = "pending"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    PROMOTING = "promoting"
    ROLLING_BACK = "rolling_back"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"


class RolloutMove(StrEnum):
    """What may happen to a rollout."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    SETTLE = "settle"
    ABORT = "abort"
    RESTORE = "restore"
    CANCEL = "cancel"


S, M = RolloutState, RolloutMove

ROLLOUT = StateMachine(
    name="rollout",
    initial=S.PENDING,
    table={
        M.START: (from_any([S.PENDING]), S.PROGRESSING),
        M.PAUSE: (from_any([S.PROGRESSING]), S.PAUSED),
        M.RESUME: (from_any([S.PAUSED]), S.PROGRESSING),
        M.PROMOTE: (from_any([S.PROGRESSING, S.PAUSED]), S.PROMOTING),
        M.SETTLE: (from_any([S.PROMOTING]), S.PROMOTED),
        M.ABORT: (from_any([S.PROGRESSING, S.PAUSED, S.PROMOTING]), S.ROLLING_BACK),
        M.RESTORE: (from_any([S.ROLLING_BACK]), S.ROLLED_BACK),
        M.CANCEL: (from_any([S.PENDING]), S.CANCELLED),
    },
)
