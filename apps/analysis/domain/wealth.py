"""E-processes for a change that may begin at any time. Pure.

Wealth is bet on several alternatives at once (effect sizes), and not all of it from the start: a
part waits as cash and is staked little by little, so that a change that begins late is found
without first earning back what a long healthy past has cost:

    M_t = e_t * (M_{t-1} + w_t),   value = cash left + sum of the stakes M,

a mixture over starting times after Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric
framework for sequential change detection" (NEJSDS 2024), with weights that sum to one, so that it
stays an e-process: under the null it reaches 1/alpha with a probability of at most alpha (Ville).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

PACE = 3600.0  # seconds after which half the cash is staked
STEP_SHARE = 1 / 3  # of the cash, staked when a step begins
MOST_LOG = 200.0  # keeps numbers finite; cutting a gain is always allowed
MOST = 1e90


@dataclass(frozen=True)
class Wealth:
    """What betting against a null has come to.

    Attributes:
        cash: Not staked yet.
        stakes: By alternative.
    """

    cash: float
    stakes: tuple[float, ...]

    @property
    def value(self) -> float:
        """Return the e-value."""
        return self.cash + sum(self.stakes)


def begin(weights: Sequence[float], *, staked: float, capital: float = 1.0) -> Wealth:
    """Return wealth of `capital`, of which the share `staked` is bet from the start."""
    return Wealth(capital * (1 - staked), tuple(capital * staked * weight for weight in weights))


def grow(
    wealth: Wealth, logs: Sequence[float], *, weights: Sequence[float], share: float
) -> Wealth:
    """Return the wealth after one slice.

    Args:
        wealth: Before it.
        logs: The logarithm of the slice's e-value for each alternative.
        weights: How fresh stakes are divided among the alternatives.
        share: Of the cash, to stake before this slice.
    """
    fresh = wealth.cash * share
    stakes = [
        (stake + fresh * weight) * math.exp(log if log < MOST_LOG else MOST_LOG)
        for stake, log, weight in zip(wealth.stakes, logs, weights, strict=True)
    ]
    if max(stakes) > MOST:
        stakes = [min(stake, MOST) for stake in stakes]
    return Wealth(wealth.cash - fresh, tuple(stakes))


def staked(wealth: Wealth, *, weights: Sequence[float], share: float = STEP_SHARE) -> Wealth:
    """Return the wealth with `share` of its cash staked, as when a step begins."""
    return grow(wealth, [0.0] * len(weights), weights=weights, share=share)


def share_due(*, elapsed: float, seconds: float) -> float:
    """Return which share of the cash is staked over `seconds` after `elapsed`.

    Over the time t the share 1 - PACE/(PACE + t) is staked, however it is cut into slices: a heavy
    tail, so that a change on the second day still finds something left.
    """
    return seconds / (PACE + elapsed + seconds) if seconds > 0 else 0.0
