"""How much more two copies of the same version differ than chance explains. Pure.

The judge of shares takes requests as independent. Where they are not (retries, one bad node, a
noisy neighbour that only one side has), healthy canaries would be aborted too often. An A/A run
measures it: the same bundle on both sides, split as a canary is. Over spans of one minute and of
five (what lasts longer than a slice is invisible within it), each span's 2x2 table gives Pearson's
chi-square; given its margins, its expectation is N/(N-1) if requests are independent, and its mean
over many spans is the dispersion of quasi-likelihood (McCullagh and Nelder, "Generalized Linear
Models", 4.5). The judge raises each e-value to the power of 1/dispersion.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from apps.analysis.domain.values import Slice
from controlplane.kernel.quantities import Tally

SPANS = (60.0, 300.0)  # seconds
SHRUNK = 20  # spans' worth of belief that there is no dispersion
MOST = 50.0  # beyond it requests say nothing; compare whole slices (`Metric.cluster`)
_ENOUGH = 0.99  # of a span: clocks are not exact


@dataclass(frozen=True)
class Calibration:
    """What an A/A run has shown.

    Attributes:
        value: The dispersion, at least 1.
        slices: How many spans told something: with observations on both sides, not all alike.
        looked_at: How many spans there were.
    """

    value: float
    slices: int
    looked_at: int


def dispersion(slices: Iterable[Slice]) -> Calibration:
    """Return the dispersion that slices of an A/A run show: the largest over `SPANS`."""
    given = sorted(slices, key=lambda piece: piece.at)
    return max((_over(spans(given, seconds=s)) for s in SPANS), key=lambda found: found.value)


def spans(slices: Sequence[Slice], *, seconds: float) -> list[tuple[Tally, Tally]]:
    """Return stable's and the canary's observations over spans of `seconds`.

    Slices must be in order. What is left at the end, or before a gap, makes no span.
    """
    found: list[tuple[Tally, Tally]] = []
    length, stable, canary, until = 0.0, Tally(), Tally(), None
    for piece in slices:
        if until and piece.at - until > timedelta(seconds=seconds):
            length, stable, canary = 0.0, Tally(), Tally()
        until = piece.at + timedelta(seconds=piece.seconds)
        length += piece.seconds
        stable, canary = stable + piece.stable, canary + piece.canary
        if length >= seconds * _ENOUGH:
            found.append((stable, canary))
            length, stable, canary = 0.0, Tally(), Tally()
    return found


def _over(tables: Sequence[tuple[Tally, Tally]]) -> Calibration:
    squares = [square for table in tables if (square := _chi_square(*table)) is not None]
    shrunk = (sum(squares) + SHRUNK) / (len(squares) + SHRUNK)
    return Calibration(min(max(shrunk, 1.0), MOST), len(squares), len(tables))


def _chi_square(stable: Tally, canary: Tally) -> float | None:
    """Return Pearson's statistic over its expectation; None where nothing could differ."""
    both = stable + canary
    if not stable.count or not canary.count or both.count < 2:
        return None
    share = both.total / both.count
    if not 0 < share < 1:
        return None
    by = canary.total / canary.count - stable.total / stable.count
    variance = share * (1 - share) * (1 / canary.count + 1 / stable.count)
    return by * by / variance * (both.count - 1) / both.count
