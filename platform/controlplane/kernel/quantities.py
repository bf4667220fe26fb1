"""Sums of observations that can be added up without losing what they say. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """Observations of one quantity, summed.

    For a share each observation is 0 or 1: `total` is how many were 1, and equals `squares`.

    Attributes:
        count: How many observations.
        total: Their sum.
        squares: The sum of their squares.
    """

    count: float = 0
    total: float = 0
    squares: float = 0

    def __add__(self, other: "Tally") -> "Tally":
        """Return both together."""
        return Tally(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    @property
    def mean(self) -> float | None:
        """Return the mean; None without observations, because silence is not a number."""
        return self.total / self.count if self.count else None


def of_share(count: float, hits: float) -> Tally:
    """Return the tally of `count` yes-or-no observations, `hits` of them yes."""
    return Tally(count, hits, hits)
