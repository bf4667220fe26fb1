"""The weights of the next move: the chances of being the best, within bounds."""

import math
from collections.abc import Mapping, Sequence

from apps.analysis.domain.bandit.beliefs import probability_best
from apps.analysis.domain.bandit.values import Arm, Bounds, Weights
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.errors import Invalid

WHOLE = 100  # percent


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


def _wrong(field: str, value: int, remedy: str) -> Invalid:
    return Invalid(
        f"{value} is no {field.replace('_', ' ')} for these arms.",
        remedy=remedy,
        field=field,
        code="bandit.bounds",
    )
