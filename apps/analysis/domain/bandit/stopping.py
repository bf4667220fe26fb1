"""Whether to stop, which arm to choose then, and the sentence that says so.

One arm is chosen for everybody. So what counts is what that choice loses in every segment, weighed
by the segment's observations, and arms are compared within segments only: over all at once, the
arm that got more of a good segment's requests looks better than it is (E. H. Simpson, "The
interpretation of interaction in contingency tables", J. R. Stat. Soc. B 13, 1951).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import chain

from apps.analysis.domain import posterior
from apps.analysis.domain.bandit.beliefs import believed
from apps.analysis.domain.bandit.segments import shrunk
from apps.analysis.domain.bandit.values import Bounds, Segments
from apps.analysis.domain.posterior import Belief
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.figures import rounded

LIMIT = 0.01  # of the leader's value: what may still be lost by choosing it
LEAST_SAID = 0.0001  # of the leader's value
NAMED = 3  # segments


@dataclass(frozen=True)
class Remaining:
    """What could still be gained by not choosing one arm for everybody now.

    Attributes:
        leader: The arm that would be chosen now: that of the best expectation.
        loss: By how much the best arm is expected to be better than it, in the reward's unit.
        relative: The same as a share of the leader's value; infinite when that is 0.
        apart: The part of `relative` that no waiting gains: what choosing one arm for segments
            of different minds costs.
        others: The segments of another mind, in their order.
    """

    leader: int
    loss: float
    relative: float
    apart: float = 0.0
    others: tuple[str, ...] = ()


class Ending(StrEnum):
    """Whether a bandit has found its arm."""

    RUNNING = "running"
    CLEAR = "clear"  # hardly anything can be gained by going on
    HORIZON = "horizon"  # its time is over


@dataclass(frozen=True)
class Decision:
    """Whether to stop.

    Attributes:
        ending: Of the three.
        leader: The arm to choose; None when no arm is known well enough to be chosen.
        remaining: What could still be gained; None when that is not known.
        sentence: All of it for a person.
    """

    ending: Ending
    leader: int | None
    remaining: Remaining | None
    sentence: str


def value_remaining(
    segments: Segments, kind: MetricKind, *, better: Better = Better.HIGHER
) -> Remaining | None:
    """Return what could still be gained by going on; None when some mean is not known at all.

    Scott (2010) stops when the 95th percentile of the value remaining is small. Its mean, the
    expected loss of stopping now, is used here: it is one integral for each segment, and falls
    smoothly.

    Raises:
        Invalid: As `probability_best`.
    """
    parts = _parts(segments, kind, better)
    if parts is None:
        return None
    numbers = [arm.number for arm in next(iter(segments.values()))]
    means = [sum(p.weight * p.beliefs[i].mean for p in parts) for i in range(len(numbers))]
    # Of equal ones the lowest number, so that the answer does not depend on their order.
    best = min(range(len(numbers)), key=lambda i: (-means[i], numbers[i]))
    loss = sum(p.weight * posterior.expected_shortfall(p.beliefs, best) for p in parts)
    apart = sum(p.weight * p.behind(best) for p in parts)
    lowers_share = kind is MetricKind.RATE and better is Better.LOWER
    value = abs(1 - means[best] if lowers_share else means[best])
    return Remaining(
        leader=numbers[best],
        loss=loss,
        relative=loss / value if value else math.inf,
        apart=apart / value if value else 0.0,
        others=tuple(p.name for p in parts if p.behind(best) > 0),
    )


@dataclass(frozen=True)
class _Part:
    """A segment: its share of all observations, and what is believed of each arm there."""

    name: str
    weight: float
    beliefs: Sequence[Belief]

    def behind(self, chosen: int) -> float:
        """Return how far the mean of an arm lies below the highest one here."""
        return max(belief.mean for belief in self.beliefs) - self.beliefs[chosen].mean


def _parts(segments: Segments, kind: MetricKind, better: Better) -> list[_Part] | None:
    """Return the segments of which something was seen; None when some mean is not known at all.

    Nothing is borrowed here unless nothing else is known: what an arm did in other segments says
    how good those are, too.
    """
    seen = {name: sum(arm.seen for arm in arms) for name, arms in segments.items()}
    told = {name: arms for name, arms in segments.items() if seen[name]}
    parts, whole, fuller = [], sum(seen.values()), shrunk(told)
    for name, arms in told.items():
        beliefs = believed(arms, kind, better) or believed(fuller[name], kind, better)
        if beliefs is None:
            return None
        parts.append(_Part(name, seen[name] / whole, beliefs))
    return parts or None


def decided(
    segments: Segments,
    bounds: Bounds,
    *,
    elapsed: timedelta,
    horizon: timedelta,
    limit: float = LIMIT,
    kind: MetricKind = MetricKind.RATE,
    better: Better = Better.HIGHER,
) -> Decision:
    """Say whether to stop: when little can be gained any more, and at the horizon in any case.

    Args:
        segments: Of each, two or more arms, of the same numbers everywhere.
        bounds: Before every arm has `bounds.least` in all, nothing is clear.
        elapsed: How long it has run.
        horizon: How long it may.
        limit: The expected loss at which it is clear, as a share of the leader's value.
        kind: Of the reward.
        better: Which way it improves.

    Raises:
        Invalid: As `probability_best`.
    """
    seen: defaultdict[int, float] = defaultdict(float)
    for arm in chain.from_iterable(segments.values()):
        seen[arm.number] += arm.seen
    enough = all(count >= bounds.least for count in seen.values())
    left = value_remaining(segments, kind, better=better) if enough else None
    if left is not None and left.relative <= limit:
        return Decision(Ending.CLEAR, left.leader, left, _clear(left, limit))
    if elapsed >= horizon:
        leader = left.leader if left else None
        return Decision(Ending.HORIZON, leader, left, _out_of_time(left, bounds, limit))
    return Decision(
        Ending.RUNNING, left.leader if left else None, left, _running(left, bounds, limit)
    )


def _clear(left: Remaining, limit: float) -> str:
    return (
        f"Revision {left.leader} is chosen: going on is expected to gain "
        f"{_percent(left.relative)} of its value, and {_percent(limit)} is small enough."
    )


def _out_of_time(left: Remaining | None, bounds: Bounds, limit: float) -> str:
    if left is None:
        return (
            f"The time is over and not every revision has {bounds.least} observations: "
            "there is nothing to choose by."
        )
    if left.apart > limit:
        return f"The time is over. {_of_different_minds(left)}"
    return (
        f"The time is over. Revision {left.leader} leads; going on was expected to gain "
        f"{_percent(left.relative)} of its value."
    )


def _running(left: Remaining | None, bounds: Bounds, limit: float) -> str:
    if left is None:
        return f"No weight moves before every revision has {bounds.least} observations."
    if left.apart > limit:
        return _of_different_minds(left)
    return (
        f"Revision {left.leader} leads; going on is expected to gain "
        f"{_percent(left.relative)} of its value."
    )


def _of_different_minds(left: Remaining) -> str:
    named = ", ".join(f"“{name}”" if name else "the rest" for name in left.others[:NAMED])
    more = len(left.others) - NAMED
    others = f"{named} and {more} more" if more > 0 else named
    return (
        f"Revision {left.leader} leads as a whole, and is not the better one for {others}: "
        f"one for all would cost {_percent(left.apart)} of its value."
    )


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "an unknown part"
    return "less than 0.01 %" if share < LEAST_SAID else f"{rounded(100 * share, 2)} %"
