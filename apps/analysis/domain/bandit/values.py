"""The arms, and how far their weights may go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.kernel.quantities import Tally

Weights = dict[int, int]


@dataclass(frozen=True)
class Arm:
    """One of the things compared.

    Attributes:
        number: The revision's number.
        tally: Its rewards, perhaps with some borrowed.
        observed: How many rewards it really has; `tally.count` unless told.
    """

    number: int
    tally: Tally
    observed: float | None = None

    @property
    def seen(self) -> float:
        """Return how many rewards it really has."""
        return self.tally.count if self.observed is None else self.observed


Segments = Mapping[str, Sequence[Arm]]  # {"": arms} where there are none


@dataclass(frozen=True)
class Bounds:
    """How far weights may go, in percent, and how fast.

    Attributes:
        floor: The least that every arm gets; more than 0 keeps learning.
        ceiling: The most that any arm gets.
        most_change: The most that a weight changes in one move.
        least: Observations that every arm must have before any weight moves.
    """

    floor: int = 5
    ceiling: int = 95
    most_change: int = 20
    least: int = 100
