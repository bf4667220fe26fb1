"""A multi-armed bandit: traffic moves to the better arm while the arms are still compared. Pure.

The rule is Thompson sampling (W. R. Thompson, "On the likelihood that one unknown probability
exceeds another in view of the evidence of two samples", Biometrika 25, 1933): an arm gets the
share of requests that is its chance of being the best, given what was seen. Thompson drew at
random for each request; here a proxy draws by weights, so the weights are those chances
themselves, computed and not drawn. S. L. Scott, "A modern Bayesian look at the multi-armed
bandit", Applied Stochastic Models in Business and Industry 26, 2010, is followed for moving in
batches and for stopping by the value that remains.

Beliefs: of a share, Beta with a uniform prior; of a mean, a bell curve around the mean that was
seen (of many observations that is Student's t for all that matters, which is why no arm moves
before it has `Bounds.least` of them).

What it does not do: weights change over the day and so may the world, so an arm that got its
traffic at a better hour looks better than it is. `discount` bounds how long that can last, and
the floor keeps every arm compared at every hour.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from apps.analysis.domain import posterior
from apps.analysis.domain.posterior import Belief
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.errors import Invalid
from controlplane.kernel.figures import rounded
from controlplane.kernel.quantities import Tally

WHOLE = 100  # percent
STRENGTH = 200  # observations that a segment borrows from the others at most
LIMIT = 0.01  # of the leader's value: what may still be lost by choosing it
LEAST_SAID = 0.0001  # of the leader's value
FINEST = 1e-9  # deviation of a mean whose observations were all alike, relative to the mean

Weights = dict[int, int]


@dataclass(frozen=True)
class Arm:
    """One of the things compared.

    Attributes:
        number: The revision's number.
        tally: Its rewards, perhaps discounted or with some borrowed.
        observed: How many rewards it really has; `tally.count` unless told.
    """

    number: int
    tally: Tally
    observed: float | None = None

    @property
    def seen(self) -> float:
        """Return how many rewards it really has."""
        return self.tally.count if self.observed is None else self.observed


@dataclass(frozen=True)
class Bounds:
    """How far weights may go, in percent, and how fast.

    Attributes:
        floor: The least that every arm gets; more than 0 keeps learning.
        ceiling: The most that any arm gets.
        most_change: The most that a weight changes in one move.
        least: Observations that every arm must have before any weight moves.
    """

    floor: int = 5
    ceiling: int = 95
    most_change: int = 20
    least: int = 100


def check(bounds: Bounds, *, arms: int) -> None:
    """Refuse bounds between which weights of so many arms cannot add up to 100.

    Raises:
        Invalid: With the field at fault.
    """
    if arms < 2:
        raise Invalid(
            "A bandit needs two arms or more.", remedy="Name another revision.", field="arms",
            code="bandit.arms",
        )  # fmt: skip
    if not 0 <= bounds.floor * arms <= WHOLE:
        raise _wrong("floor", bounds.floor, f"Give each arm 0 to {WHOLE // arms} percent.")
    if not bounds.ceiling * arms >= WHOLE or bounds.ceiling > WHOLE:
        raise _wrong("ceiling", bounds.ceiling, f"Give {-(-WHOLE // arms)} to 100 percent.")
    if not 1 <= bounds.most_change <= WHOLE:
        raise _wrong("most_change", bounds.most_change, "Give 1 to 100 percentage points.")
    if bounds.least < 2:
        raise _wrong("least", bounds.least, "Ask for two observations or more.")


def probability_best(
    arms: Sequence[Arm], kind: MetricKind, *, better: Better = Better.HIGHER
) -> dict[int, float]:
    """Return each arm's chance of being the best, by number; together 1.

    When the mean of some arm is not known at all, because it has fewer than two observations,
    all have the same chance.

    Raises:
        Invalid: A share was declared and other numbers than 0 to 1 came.
    """
    beliefs = _beliefs(arms, kind, better)
    if beliefs is None:
        return {arm.number: 1 / len(arms) for arm in arms}
    chances = posterior.chances_to_be_highest(beliefs)
    return {arm.number: chance for arm, chance in zip(arms, chances, strict=True)}


def allocate(
    arms: Sequence[Arm],
    bounds: Bounds,
    *,
    previous: Mapping[int, int],
    kind: MetricKind = MetricKind.RATE,
    better: Better = Better.HIGHER,
) -> Weights:
    """Return the weights of the next move, in percent, adding up to 100.

    They are the weights nearest to the chances of being the best among those that keep the
    bounds. Where the bounds and the largest change exclude each other, the bounds win.

    Args:
        arms: Two or more.
        bounds: See `check`.
        previous: The weights now, of every arm. They stay until every arm has `bounds.least`.
        kind: Of the reward.
        better: Which way it improves.

    Raises:
        Invalid: As `check` and `probability_best`.
    """
    check(bounds, arms=len(arms))
    if any(arm.seen < bounds.least for arm in arms):
        return {arm.number: previous[arm.number] for arm in arms}
    chances = probability_best(arms, kind, better=better)
    spans = _spans(arms, bounds, previous)
    wanted = [WHOLE * chances[arm.number] for arm in arms]
    weights = _whole(_nearest(wanted, spans))
    return {arm.number: weight for arm, weight in zip(arms, weights, strict=True)}


# --- stopping ----------------------------------------------------------------------------------


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
    beliefs = _beliefs(arms, kind, better)
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


# --- segments and time -------------------------------------------------------------------------


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
        total += _scaled(tally, 0.5**age)
    return total


# --- beliefs -----------------------------------------------------------------------------------


def _beliefs(arms: Sequence[Arm], kind: MetricKind, better: Better) -> list[Belief] | None:
    """Return what is believed of each arm, turned so that higher is better; None if nothing is."""
    if kind is MetricKind.RATE:
        return [_share(arm.tally, better) for arm in arms]
    if any(arm.tally.count < 2 for arm in arms):
        return None
    variances = [_variance(arm.tally) for arm in arms]
    pooled = sum(variances) / len(variances)
    return [
        _mean(arm.tally, variance, pooled, better)
        for arm, variance in zip(arms, variances, strict=True)
    ]


def _share(tally: Tally, better: Better) -> Belief:
    if not 0 <= tally.total <= tally.count * (1 + 1e-9):
        raise Invalid(
            f"The rewards add up to {tally.total:g} in {tally.count:g} observations.",
            remedy="Send 0 or 1 for a share, or declare the reward as a mean.",
            field="kind",
            code="bandit.not_a_share",
        )
    misses = max(0.0, tally.count - tally.total)
    hits, misses = (tally.total, misses) if better is Better.HIGHER else (misses, tally.total)
    return posterior.beta(1 + hits, 1 + misses)


def _mean(tally: Tally, variance: float, pooled: float, better: Better) -> Belief:
    """Return a bell curve; one observation of the arms' common variance steadies small counts."""
    mean = tally.total / tally.count
    steady = ((tally.count - 1) * variance + pooled) / tally.count
    finest = FINEST * max(abs(mean), 1e-300)
    deviation = max(math.sqrt(steady / tally.count), finest)
    return posterior.normal(mean if better is Better.HIGHER else -mean, deviation)


def _variance(tally: Tally) -> float:
    spread = tally.squares - tally.total * tally.total / tally.count
    return max(0.0, spread) / (tally.count - 1)


# --- weights -----------------------------------------------------------------------------------


def _spans(
    arms: Sequence[Arm], bounds: Bounds, previous: Mapping[int, int]
) -> list[tuple[int, int]]:
    """Return the least and the most that each arm may get in this move."""

    def within(weight: int) -> int:
        return min(bounds.ceiling, max(bounds.floor, weight))

    spans = [
        (
            within(previous[arm.number] - bounds.most_change),
            within(previous[arm.number] + bounds.most_change),
        )
        for arm in arms
    ]
    if sum(low for low, _ in spans) <= WHOLE <= sum(high for _, high in spans):
        return spans
    return [(bounds.floor, bounds.ceiling)] * len(spans)


def _nearest(wanted: Sequence[float], spans: Sequence[tuple[int, int]]) -> list[float]:
    """Return the point nearest to `wanted` in the box of `spans` whose parts add up to 100.

    That is `wanted`, moved by the same amount everywhere and cut off at the box; the amount is
    found by bisection, because the sum grows with it.
    """

    def moved(by: float) -> list[float]:
        return [
            min(high, max(low, want + by)) for want, (low, high) in zip(wanted, spans, strict=True)
        ]

    low, high = -2.0 * WHOLE, 2.0 * WHOLE
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(moved(middle)) < WHOLE else (low, middle)
    return moved(high)


def _whole(weights: Sequence[float]) -> list[int]:
    """Return whole percents that add up to 100: the largest remainders are rounded up."""
    down = [math.floor(weight + 1e-9) for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (down[i] - weights[i], i))
    for index in order[: WHOLE - sum(down)]:
        down[index] += 1
    return down


def _with_borrowed(arm: Arm, whole: Tally, strength: float) -> Arm:
    own = arm.tally
    rest = Tally(whole.count - own.count, whole.total - own.total, whole.squares - own.squares)
    if rest.count <= 0:
        return arm
    borrowed = _scaled(rest, min(1.0, strength / rest.count))
    return Arm(arm.number, own + borrowed, arm.seen + borrowed.count)


def _scaled(tally: Tally, factor: float) -> Tally:
    return Tally(tally.count * factor, tally.total * factor, tally.squares * factor)


# --- words -------------------------------------------------------------------------------------


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


def _wrong(field: str, value: int, remedy: str) -> Invalid:
    return Invalid(
        f"{value} is no {field.replace('_', ' ')} for these arms.",
        remedy=remedy,
        field=field,
        code="bandit.bounds",
    )
