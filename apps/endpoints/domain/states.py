"""The life of a revision behind an endpoint, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class RevisionState(StrEnum):
    """Where a revision is in its life."""

    PENDING = "pending"  # waits for capacity
    STARTING = "starting"  # its processes are coming up
    WARMING = "warming"  # its first requests are made, by us
    VERIFYING = "verifying"  # golden requests, answered by its own digest
    SHIFTING = "shifting"  # it gets its weight
    LIVE = "live"
    DRAINING = "draining"  # it gets no new requests
    RETIRED = "retired"
    FAILED = "failed"


class RevisionMove(StrEnum):
    """What may happen to a revision."""

    START = "start"
    WARM = "warm"
    VERIFY = "verify"
    SHIFT = "shift"
    SETTLE = "settle"
    REVIVE = "revive"
    DRAIN = "drain"
    RETIRE = "retire"
    FAIL = "fail"


S, M = RevisionState, RevisionMove

REVISION = StateMachine(
    name="revision",
    initial=S.PENDING,
    table={
        M.START: (from_any([S.PENDING]), S.STARTING),
        M.WARM: (from_any([S.STARTING]), S.WARMING),
        M.VERIFY: (from_any([S.WARMING]), S.VERIFYING),
        M.SHIFT: (from_any([S.VERIFYING]), S.SHIFTING),
        M.SETTLE: (from_any([S.SHIFTING]), S.LIVE),
        M.REVIVE: (from_any([S.DRAINING]), S.SHIFTING),  # still warm: back by a route alone
        M.DRAIN: (
            from_any([S.PENDING, S.STARTING, S.WARMING, S.VERIFYING, S.SHIFTING, S.LIVE]),
            S.DRAINING,
        ),
        M.RETIRE: (from_any([S.DRAINING]), S.RETIRED),
        M.FAIL: (
            from_any([S.PENDING, S.STARTING, S.WARMING, S.VERIFYING, S.SHIFTING]),
            S.FAILED,
        ),
    },
)
