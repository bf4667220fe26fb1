"""The life of a release, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class ReleaseState(StrEnum):
    """Where a release is on its way."""

    PROPOSED = "proposed"
    BUILDING = "building"
    CHECKING = "checking"
    AWAITING_APPROVAL = "awaiting_approval"
    AUTHORIZED = "authorized"
    ROLLING_OUT = "rolling_out"
    LIVE = "live"
    ROLLED_BACK = "rolled_back"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


class ReleaseMove(StrEnum):
    """What may happen to a release."""

    BUILD = "build"
    CHECK = "check"
    ASK = "ask for approval"
    AUTHORIZE = "authorize"
    START = "start"
    GO_LIVE = "go live"
    ROLL_BACK = "roll back"
    DECLINE = "decline"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    SUPERSEDE = "supersede"


S, M = ReleaseState, ReleaseMove
UNDECIDED = (S.PROPOSED, S.BUILDING, S.CHECKING, S.AWAITING_APPROVAL)
# From these it can still come to nothing without any traffic having moved.
WAITING = (*UNDECIDED, S.AUTHORIZED)

RELEASE = StateMachine(
    name="release",
    initial=S.PROPOSED,
    table={
        M.BUILD: (from_any([S.PROPOSED]), S.BUILDING),
        # Also back from later: evidence got too old, or what was approved has changed.
        M.CHECK: (from_any(WAITING), S.CHECKING),
        M.ASK: (from_any([S.CHECKING, S.AUTHORIZED]), S.AWAITING_APPROVAL),
        # From the undecided states only by breaking the glass, or where a policy asks for nobody.
        M.AUTHORIZE: (from_any(UNDECIDED), S.AUTHORIZED),
        M.START: (from_any([S.AUTHORIZED]), S.ROLLING_OUT),
        M.GO_LIVE: (from_any([S.ROLLING_OUT]), S.LIVE),
        M.ROLL_BACK: (from_any([S.ROLLING_OUT, S.LIVE]), S.ROLLED_BACK),
        M.DECLINE: (from_any([S.AWAITING_APPROVAL]), S.DECLINED),
        M.WITHDRAW: (from_any(WAITING), S.WITHDRAWN),
        M.EXPIRE: (from_any(WAITING), S.EXPIRED),
        M.SUPERSEDE: (from_any([*WAITING, S.LIVE]), S.SUPERSEDED),
    },
)
