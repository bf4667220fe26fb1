"""What earlier runs at an endpoint tell of how noisy it is. Pure.

Two sides that were alike (the same bytes, or a canary that was promoted) differ by chance alone,
and by whatever else makes one slice of time unlike the next. So their slices show how much noisier
than chance an endpoint is. Windows of traffic are kept for a day; what is kept here lasts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from apps.analysis.domain.values import Metric, Slice
from controlplane.kernel.quantities import Tally

MOST_SLICES = 360  # of a run and metric: an hour of windows
Packed = list[float]  # at, seconds, and both tallies


class Alike(StrEnum):
    """Why the two sides of a run count as alike."""

    SAME_BYTES = "same_bytes"
    PROMOTED = "promoted"


@dataclass(frozen=True)
class Pool:
    """Slices of earlier runs in which both sides were alike.

    Attributes:
        slices: Newest run first.
        same_bytes: How many of the runs compared a bundle with itself.
        promoted: How many ended with a canary that was not worse.
    """

    slices: tuple[Slice, ...] = ()
    same_bytes: int = 0
    promoted: int = 0

    @property
    def sentence(self) -> str:
        """Return where it is from, as the rest of a sentence; "" for an empty one."""
        if not self.slices:
            return ""
        of = [
            _runs(self.promoted, "that were promoted", "that was promoted"),
            _runs(self.same_bytes, "of the same bytes", "of the same bytes"),
        ]
        return f"from {len(self.slices)} slices of {' and '.join(part for part in of if part)}"


def key_of(metric: Metric) -> str:
    """Return what makes two runs' metrics the same one, whatever they call it."""
    detail = f"{metric.over_ms:g}" if metric.over_ms is not None else metric.query
    return f"{metric.source}:{detail}"


def pack(slices: Sequence[Slice]) -> list[Packed]:
    """Return the newest slices as a row keeps them."""
    return [
        [
            s.at.timestamp(), s.seconds,
            s.stable.count, s.stable.total, s.stable.squares,
            s.canary.count, s.canary.total, s.canary.squares,
        ]
        for s in slices[-MOST_SLICES:]
    ]  # fmt: skip


def unpack(packed: Iterable[Packed]) -> list[Slice]:
    """Return the slices that `pack` made it of."""
    return [
        Slice(datetime.fromtimestamp(at, UTC), seconds, Tally(*rest[:3]), Tally(*rest[3:]))
        for at, seconds, *rest in packed
    ]


def _runs(count: int, many: str, one: str) -> str:
    if not count:
        return ""
    return f"1 earlier rollout {one}" if count == 1 else f"{count} earlier rollouts {many}"
