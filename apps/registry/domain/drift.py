"""What to do about an alias that MLflow shows otherwise than we do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Known:
    """An alias here.

    Attributes:
        number: The version that it names.
        shown: What MLflow was last seen to show; None for nothing.
    """

    number: int
    shown: int | None


@dataclass(frozen=True)
class Drift:
    """One alias that somebody moved in MLflow, past us.

    Attributes:
        here: What we know of it; None when it is unknown here.
        there: The number that it names in MLflow; None when it is unknown there.
    """

    alias: str
    here: Known | None
    there: int | None

    @property
    def was(self) -> int | None:
        """Return the number that it names here."""
        return self.here.number if self.here is not None else None


class Answer(StrEnum):
    """How a drift ends."""

    PUT_BACK = "put_back"
    ADOPT = "adopt"


def drifts(here: Mapping[str, Known], there: Mapping[str, int]) -> list[Drift]:
    """Return the aliases that were moved in MLflow, by name.

    One that MLflow shows as it was last seen to is not among them: there, it is the mirror that
    has still to bring our own move.
    """
    found = []
    for alias in sorted({*here, *there}):
        known, number = here.get(alias), there.get(alias)
        if known is None or number not in (known.number, known.shown):
            found.append(Drift(alias, known, number))
    return found


def lagging(here: Mapping[str, Known], there: Mapping[str, int]) -> list[int]:
    """Return the versions whose aliases the mirror has still to bring to MLflow."""
    return sorted(
        {
            known.number
            for alias, known in here.items()
            if there.get(alias) != known.number and there.get(alias) == known.shown
        }
    )


def answer(*, protected: bool, policy: str, settled: bool, usable: bool) -> Answer:
    """Return how a drift ends.

    Args:
        protected: Whether an environment claims the alias.
        policy: That environment's: "put_back" or "adopt".
        settled: Whether MLflow had shown what we say before somebody moved it. If it had not, our
            own move is on its way, and is the later decision.
        usable: Whether the version that MLflow names may carry an alias here; True when the
            alias was removed.
    """
    if not usable or not settled or (protected and policy != Answer.ADOPT):
        return Answer.PUT_BACK
    return Answer.ADOPT
