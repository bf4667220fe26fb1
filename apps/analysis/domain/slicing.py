"""From what each side did to slices of the same time. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.analysis.domain.queries import Measured
from apps.analysis.domain.values import MetricKind, Slice
from controlplane.kernel.quantities import Tally, of_share


@dataclass(frozen=True)
class Piece:
    """What one side did in one span of time."""

    at: datetime
    seconds: float
    tally: Tally


def slices(
    stable: Iterable[Piece], canary: Iterable[Piece], *, since: datetime, until: datetime
) -> list[Slice]:
    """Return what both sides did from `since` to `until`, in order and without a gap.

    A span in which neither did anything is a slice of nothing: how long it still takes to decide
    depends on it. One in which only one side did something is no evidence, and shows the traffic.
    """
    sides = ({p.at: p for p in stable}, {p.at: p for p in canary})
    found: list[Slice] = []
    covered = since
    for at in sorted({*sides[0], *sides[1]}):
        if at > covered:
            found.append(_silence(covered, at))
        there = [side.get(at) for side in sides]
        seconds = max(piece.seconds for piece in there if piece is not None)
        tallies = [piece.tally if piece is not None else Tally() for piece in there]
        found.append(Slice(at, seconds, *tallies))
        covered = max(covered, at + timedelta(seconds=seconds))
    if until > covered:
        found.append(_silence(covered, until))
    return found


def split(pieces: Sequence[Slice], at: datetime) -> tuple[list[Slice], list[Slice]]:
    """Return the slices that begin before `at`, and the others."""
    return [p for p in pieces if p.at < at], [p for p in pieces if p.at >= at]


def tally_of(kind: MetricKind, measured: Measured) -> Tally:
    """Return one side's answer of another source as observations; without a value, none.

    A mean of unknown many is one observation: the judge of means takes whole slices as such.
    """
    if measured.value is None:
        return Tally()
    count, value = measured.count or 1.0, measured.value
    if kind is MetricKind.RATE:
        return of_share(count, value * count)
    return Tally(count, value * count, value * value * count)


def _silence(since: datetime, until: datetime) -> Slice:
    return Slice(since, (until - since).total_seconds(), Tally(), Tally())
