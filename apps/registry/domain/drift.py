"""What to do about an alias that MLflow shows otherwise than we do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Drift:
    """One alias that differs.

    Attributes:
        here: The number that it names here; None when it is unknown here.
        there: The number that it names in MLflow; None when it is unknown there.
    """

    alias: str
    here: int | None
    there: int | None

    @property
    def numbers(self) -> frozenset[int]:
        """Return the versions it is about."""
        return frozenset(n for n in (self.here, self.there) if n is not None)


class Answer(StrEnum):
    """How a drift ends."""

    PUT_BACK = "put_back"
    ADOPT = "adopt"


def drifts(here: Mapping[str, int], there: Mapping[str, int]) -> list[Drift]:
    """Return the aliases that differ, by name."""
    names = sorted({*here, *there})
    found = (Drift(name, here.get(name), there.get(name)) for name in names)
    return [drift for drift in found if drift.here != drift.there]


def answer(*, protected: bool, policy: str, usable: bool) -> Answer:
    """Return how a drift ends.

    Args:
        protected: Whether an environment claims the alias.
        policy: That environment's: "put_back" or "adopt".
        usable: Whether the version that MLflow names may carry an alias here; True when the
            alias was removed.
    """
    if not usable or (protected and policy != Answer.ADOPT):
        return Answer.PUT_BACK
    return Answer.ADOPT
