"""The life of a request for approval, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class RequestState(StrEnum):
    """Where a request for approval is in its life."""

    OPEN = "open"
    GRANTED = "granted"
    DECLINED = "declined"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    VOIDED = "voided"


class RequestMove(StrEnum):
    """What may happen to a request."""

    GRANT = "grant"
    REOPEN = "reopen"  # a yes was taken back, or whoever gave it holds the role no more
    DECLINE = "decline"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    VOID = "void"  # what was asked about has changed; a new request takes its place


S, M = RequestState, RequestMove

REQUEST = StateMachine(
    name="approval request",
    initial=S.OPEN,
    table={
        M.GRANT: (from_any([S.OPEN]), S.GRANTED),
        M.REOPEN: (from_any([S.GRANTED]), S.OPEN),
        M.DECLINE: (from_any([S.OPEN, S.GRANTED]), S.DECLINED),
        M.EXPIRE: (from_any([S.OPEN, S.GRANTED]), S.EXPIRED),
        M.WITHDRAW: (from_any([S.OPEN, S.GRANTED]), S.WITHDRAWN),
        M.VOID: (from_any([S.OPEN, S.GRANTED]), S.VOIDED),
    },
)
