"""Segments: each has weights of its own, and borrows from the others while it is small."""

from collections.abc import Mapping, Sequence

from apps.analysis.domain.bandit.values import Arm, Bounds, Weights
from apps.analysis.domain.bandit.weights import allocate
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.quantities import Tally

STRENGTH = 200  # observations that a segment borrows from the others at most


def shrunk(
    segments: Mapping[str, Sequence[Arm]], *, strength: float = STRENGTH
) -> dict[str, list[Arm]]:
    """Return the arms of each segment with some of what the same arm did in the other segments.

    What is borrowed weighs as much as `strength` observations at most, and never more than there
    are. So a segment of which little is known behaves like the whole, only less sure of it, and
    one with thousands of observations goes its own way.

    Args:
        segments: The arms of each, the same numbers everywhere; nothing stands in two.
        strength: Observations.
    """
    whole: dict[int, Tally] = {}
    for arms in segments.values():
        for arm in arms:
            whole[arm.number] = whole.get(arm.number, Tally()) + arm.tally
    return {
        name: [_with_borrowed(arm, whole[arm.number], strength) for arm in arms]
        for name, arms in segments.items()
    }


def allocate_segments(
    segments: Mapping[str, Sequence[Arm]],
    bounds: Bounds,
    *,
    previous: Mapping[str, Mapping[int, int]],
    start: Mapping[int, int],
    strength: float = STRENGTH,
    kind: MetricKind = MetricKind.RATE,
    better: Better = Better.HIGHER,
) -> dict[str, Weights]:
    """Return the weights of every segment; see `shrunk` and `allocate`.

    Args:
        segments: The arms of each.
        bounds: Hold in each segment.
        previous: The weights of each segment now.
        start: The weights of a segment that is new.
        strength: Observations borrowed at most.
        kind: Of the reward.
        better: Which way it improves.

    Raises:
        Invalid: As `allocate`.
    """
    return {
        name: allocate(arms, bounds, previous=previous.get(name, start), kind=kind, better=better)
        for name, arms in shrunk(segments, strength=strength).items()
    }


def _with_borrowed(arm: Arm, whole: Tally, strength: float) -> Arm:
    own = arm.tally
    rest = Tally(whole.count - own.count, whole.total - own.total, whole.squares - own.squares)
    if rest.count <= 0:
        return arm
    part = min(1.0, strength / rest.count)
    borrowed = Tally(rest.count * part, rest.total * part, rest.squares * part)
    return Arm(arm.number, own + borrowed, arm.seen + borrowed.count)
