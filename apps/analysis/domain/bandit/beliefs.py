"""What is believed of each arm, and its chance of being the best."""

import math
from collections.abc import Sequence

from apps.analysis.domain import posterior
from apps.analysis.domain.bandit.values import Arm
from apps.analysis.domain.posterior import Belief
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.errors import Invalid
from controlplane.kernel.quantities import Tally

FINEST = 1e-9  # deviation of a mean whose observations were all alike, relative to the mean


def probability_best(
    arms: Sequence[Arm], kind: MetricKind, *, better: Better = Better.HIGHER
) -> dict[int, float]:
    """Return each arm's chance of being the best, by number; together 1.

    When the mean of some arm is not known at all, because it has fewer than two observations,
    all have the same chance.

    Raises:
        Invalid: A share was declared and other numbers than 0 to 1 came.
    """
    beliefs = believed(arms, kind, better)
    if beliefs is None:
        return {arm.number: 1 / len(arms) for arm in arms}
    chances = posterior.chances_to_be_highest(beliefs)
    return {arm.number: chance for arm, chance in zip(arms, chances, strict=True)}


def believed(arms: Sequence[Arm], kind: MetricKind, better: Better) -> list[Belief] | None:
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
