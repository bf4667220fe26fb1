"""Tallies that count less than they hold, such as those of long ago."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from controlplane.kernel.quantities import Tally


def discount(
    windows: Iterable[tuple[datetime, Tally]], *, half_life: timedelta, now: datetime
) -> Tally:
    """Return the sum of windows, each of which counts half as much for every `half_life` of age.

    So an arm that has become worse is found out, for the price of never being quite sure. The
    count that comes out makes a belief at most as narrow as the observations deserve. Give the
    real number of observations as `Arm.observed`, or a long-lived bandit seems to know too
    little to move.

    Args:
        windows: When each began, and what came in it.
        half_life: More than 0.
        now: From when ages are counted; a window that begins later counts whole.
    """
    total = Tally()
    for began, tally in windows:
        age = max(0.0, (now - began) / half_life)
        total += scaled(tally, 0.5**age)
    return total


def scaled(tally: Tally, factor: float) -> Tally:
    """Return a tally that counts `factor` times as much, with the same mean and spread."""
    return Tally(tally.count * factor, tally.total * factor, tally.squares * factor)
