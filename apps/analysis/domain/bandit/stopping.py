"""Whether to stop, which arm to choose then, and the sentence that says so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from apps.analysis.domain import posterior
from apps.analysis.domain.bandit.beliefs import believed
from apps.analysis.domain.bandit.values import Arm, Bounds
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.figures import rounded

LIMIT = 0.01  # of the leader's value: what may still be lost by choosing it
LEAST_SAID = 0.0001  # of the leader's value


@dataclass(frozen=True)
class Remaining:
    """What could still be gained by going on.

    Attributes:
        leader: The arm that would be chosen now: that of the best expectation.
        loss: By how much the best arm is expected to be better than it, in the reward's unit.
        relative: The same as a share of the leader's value; infinite when that is 0.
    """

    leader: int
    loss: float
    relative: float


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
    arms: Sequence[Arm], kind: MetricKind, *, better: Better = Better.HIGHER
) -> Remaining | None:
    """Return what could still be gained by going on; None when some mean is not known at all.

    Scott (2010) stops when the 95th percentile of the value remaining is small. Its mean, the
    expected loss of stopping now, is used here: it is one integral, and falls smoothly.

    Raises:
        Invalid: As `probability_best`.
    """
    beliefs = believed(arms, kind, better)
    if beliefs is None:
        return None
    # Of equal ones the lowest number, so that the answer does not depend on their order.
    best = min(range(len(arms)), key=lambda i: (-beliefs[i].mean, arms[i].number))
    loss = posterior.expected_shortfall(beliefs, best)
    lowers_share = kind is MetricKind.RATE and better is Better.LOWER
    value = abs(1 - beliefs[best].mean if lowers_share else beliefs[best].mean)
    return Remaining(arms[best].number, loss, loss / value if value else math.inf)


def decided(
    arms: Sequence[Arm],
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
        arms: Two or more.
        bounds: Before every arm has `bounds.least`, nothing is clear.
        elapsed: How long it has run.
        horizon: How long it may.
        limit: The expected loss at which it is clear, as a share of the leader's value.
        kind: Of the reward.
        better: Which way it improves.

    Raises:
        Invalid: As `probability_best`.
    """
    enough = all(arm.seen >= bounds.least for arm in arms)
    left = value_remaining(arms, kind, better=better) if enough else None
    if left is not None and left.relative <= limit:
        return Decision(Ending.CLEAR, left.leader, left, _clear(left, limit))
    if elapsed >= horizon:
        leader = left.leader if left else None
        return Decision(Ending.HORIZON, leader, left, _out_of_time(left, bounds))
    return Decision(Ending.RUNNING, left.leader if left else None, left, _running(left, bounds))


def _clear(left: Remaining, limit: float) -> str:
    return (
        f"Revision {left.leader} is chosen: going on is expected to gain "
        f"{_percent(left.relative)} of its value, and {_percent(limit)} is small enough."
    )


def _out_of_time(left: Remaining | None, bounds: Bounds) -> str:
    if left is None:
        return (
            f"The time is over and not every revision has {bounds.least} observations: "
            "there is nothing to choose by."
        )
    return (
        f"The time is over. Revision {left.leader} leads; going on was expected to gain "
        f"{_percent(left.relative)} of its value."
    )


def _running(left: Remaining | None, bounds: Bounds) -> str:
    if left is None:
        return f"No weight moves before every revision has {bounds.least} observations."
    return (
        f"Revision {left.leader} leads; going on is expected to gain "
        f"{_percent(left.relative)} of its value."
    )


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "an unknown part"
    return "less than 0.01 %" if share < LEAST_SAID else f"{rounded(100 * share, 2)} %"
