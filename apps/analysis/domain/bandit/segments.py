"""Segments: each has weights of its own, and borrows from the others while it is small."""

from collections.abc import Mapping

from apps.analysis.domain.bandit.values import Arm, Bounds, Segments, Weights
from apps.analysis.domain.bandit.weights import allocate
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.quantities import Tally

STRENGTH = 200  # observations of an arm from which on a segment borrows nothing


def shrunk(segments: Segments, *, strength: float = STRENGTH) -> dict[str, list[Arm]]:
    """Return the arms of each segment, filled up by what the same arm did in the others.

    An arm borrows what it lacks to `strength` observations, and never more than there are. So a
    segment of which nothing is known behaves like the whole, only less sure of it, and one that
    is known goes its own way.

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
    segments: Segments,
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
        strength: Observations from which on nothing is borrowed.
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
    lacks = min(rest.count, strength - own.count)
    if lacks <= 0:
        return arm
    part = lacks / rest.count
    borrowed = Tally(rest.count * part, rest.total * part, rest.squares * part)
    return Arm(arm.number, own + borrowed, arm.seen + borrowed.count)
