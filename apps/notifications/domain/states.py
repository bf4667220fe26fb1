"""The life of a delivery, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class DeliveryState(StrEnum):
    """Where a delivery is in its life."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class DeliveryMove(StrEnum):
    """What may happen to a delivery."""

    DELIVER = "deliver"
    GIVE_UP = "give_up"
    REPLAY = "replay"


S, M = DeliveryState, DeliveryMove

DELIVERY = StateMachine(
    name="delivery",
    initial=S.PENDING,
    table={
        M.DELIVER: (from_any([S.PENDING]), S.DELIVERED),
        M.GIVE_UP: (from_any([S.PENDING]), S.DEAD),
        M.REPLAY: (from_any([S.DELIVERED, S.DEAD]), S.PENDING),
    },
)
