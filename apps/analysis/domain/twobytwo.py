"""E-variables for two shares: is the canary's above a line over stable's? Pure.

After Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow
for optional stopping" (JSPI 2024), and Turner and Grünwald, "Exact anytime-valid confidence
intervals for contingency tables and beyond" (2023), whose stratified version is used here: each
slice of time is a block of its own, and shares may differ freely from slice to slice.

The null: in every slice the canary's share lies at or below the line, theta_c <= a * theta_s + b
(or, for "not worse", at or above it). For an alternative (q_s, q_c) on the other side and a point
(p_s, p_c) on the line, the block's e-value is the product over all its observations of q/p for a
hit and (1-q)/(1-p) for a miss. With lambda = (q-p) / (p(1-p)) the factors are 1 + lambda(1-p) and
1 - lambda p, and one observation of share theta has the expectation

    A(theta) = theta q/p + (1-theta)(1-q)/(1-p) = 1 + lambda (theta - p).

If p is the Kullback-Leibler projection of q onto the line with weights n_s and n_c, then by KKT
n_s lambda_s = -a mu and n_c lambda_c = mu for some mu (positive when the null lies below), so

    n_s (A_s - 1) + n_c (A_c - 1) = mu (theta_c - a theta_s - b) <= 0   under the null,

and, the geometric mean being at most the arithmetic one, A_s^n_s * A_c^n_c <= 1: an e-variable for
the whole convex null. The same holds when the share moves within a slice, as long as its average
obeys the null. Only the two equations for lambda are used, so any p on the line and any mu give an
e-variable: p is computed for a rounded base rate and traffic ratio (and remembered), lambda_s from
the block's own counts, and nothing is lost but a little power.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from apps.analysis.domain.lines import Line
from controlplane.kernel.quantities import Tally

GRID = 0.1  # base rates and ratios are rounded to 10 %: costs power of the second order only
LOWEST, HIGHEST = 1e-6, 0.98  # shares that alternatives and base rates stay within
WORSE_ODDS = (1.5, 3.0, 10.0, 40.0)  # times the odds that are just tolerated
WORSE_WEIGHTS = (0.2, 0.5, 0.2, 0.1)
NOT_WORSE_WEIGHTS = (0.25, 0.55, 0.2)  # half way, equal to stable, better than stable
_STAKED = 0.98  # of the wealth, at most, on a single hit of stable


@dataclass(frozen=True)
class Bet:
    """A point on the line, and how the canary's observations are bet on.

    Attributes:
        stable: p_s.
        canary: p_c.
        tilt: lambda_c; 0 when there is no alternative.
        hit: The logarithm of the factor for a hit of the canary.
        miss: For a miss.
    """

    stable: float
    canary: float
    tilt: float
    hit: float
    miss: float


NO_BET = Bet(0.5, 0.5, 0.0, 0.0, 0.0)


def worse_bets(line: Line, *, base: float, ratio: float) -> tuple[Bet, ...]:
    """Return the bets against "at or below the line", one for each of `WORSE_ODDS`.

    Args:
        line: What is tolerated.
        base: Stable's share as estimated from earlier slices.
        ratio: The canary's observations over stable's in this slice.
    """
    return _worse(line, _step(base), _step(ratio))


def not_worse_bets(line: Line, *, base: float, ratio: float) -> tuple[Bet, ...]:
    """Return the bets against "at or above the line", one for each of `NOT_WORSE_WEIGHTS`."""
    return _not_worse(line, _step(base), _step(ratio))


def log_es(bets: Sequence[Bet], line: Line, *, stable: Tally, canary: Tally) -> tuple[float, ...]:
    """Return the logarithm of a block's e-value for each bet; 0 when a side has nothing."""
    if not stable.count or not canary.count:
        return (0.0,) * len(bets)
    ratio = -line.slope * canary.count / stable.count
    hits, misses = canary.total, canary.count - canary.total
    stable_hits, stable_misses = stable.total, stable.count - stable.total
    found = []
    for bet in bets:
        placed, hit, miss = place(bet, tilt=ratio * bet.tilt)
        found.append(
            hits * placed.hit
            + misses * placed.miss
            + stable_hits * math.log1p(hit)
            + stable_misses * math.log1p(miss)
        )
    return tuple(found)


def place(bet: Bet, *, tilt: float) -> tuple[Bet, float, float]:
    """Return a bet as a block makes it, with what a hit and a miss of stable gain or lose.

    Args:
        bet: As computed for the rounded ratio.
        tilt: lambda_s for the block's own ratio. Where it would stake more than there is, the
            whole bet is made smaller: any mu is as valid.
    """
    hit, miss = tilt * (1 - bet.stable), -tilt * bet.stable
    if hit >= -_STAKED and miss >= -_STAKED:
        return bet, hit, miss
    cut = _STAKED / -min(hit, miss)
    return _bet(bet.stable, bet.canary, bet.tilt * cut), hit * cut, miss * cut


def _step(value: float) -> int:
    return round(math.log(value) / GRID)


@lru_cache(maxsize=1 << 15)
def _worse(line: Line, base_step: int, ratio_step: int) -> tuple[Bet, ...]:
    base, ratio = _within(math.exp(base_step * GRID)), math.exp(ratio_step * GRID)
    edge = line.at(base)
    aims = [with_odds(edge, odds) for odds in WORSE_ODDS]
    return tuple(_against(line, base, aim, ratio) if aim > edge else NO_BET for aim in aims)


@lru_cache(maxsize=1 << 15)
def _not_worse(line: Line, base_step: int, ratio_step: int) -> tuple[Bet, ...]:
    base, ratio = _within(math.exp(base_step * GRID)), math.exp(ratio_step * GRID)
    edge = line.at(base)
    aims = (math.sqrt(base * _within(edge)), base, with_odds(base, 0.5))
    return tuple(_against(line, base, aim, ratio) if aim < edge else NO_BET for aim in aims)


def with_odds(share: float, times: float) -> float:
    """Return the share whose odds are `times` those of `share`, within bounds."""
    if share >= 1:
        return 1.0
    odds = times * share / (1 - share)
    return _within(odds / (1 + odds))


def _within(share: float) -> float:
    return min(max(share, LOWEST), HIGHEST)


def _against(line: Line, base: float, aim: float, ratio: float) -> Bet:
    """Return the bet for the alternative (base, aim), by projecting it onto the line."""
    edge = line.at(base)
    if not LOWEST <= aim <= HIGHEST or edge >= HIGHEST or abs(aim - edge) < 1e-3 * edge:
        return NO_BET
    stable = _projected(line, base, aim, ratio)
    canary = line.at(stable)
    return _bet(stable, canary, (aim - canary) / (canary * (1 - canary)))


def _bet(stable: float, canary: float, tilt: float) -> Bet:
    return Bet(stable, canary, tilt, math.log1p(tilt * (1 - canary)), math.log1p(-tilt * canary))


def _projected(line: Line, base: float, aim: float, ratio: float) -> float:
    """Return p_s of the projection: where the implied q_s equals `base`, by bisection."""
    reach = min(max((aim - line.intercept) / line.slope, 1e-12), 1 - 1e-9)
    low, high = min(base, reach), max(base, reach)
    for _ in range(40):
        middle = (low + high) / 2
        canary = line.at(middle)
        tilt = -line.slope * ratio * (aim - canary) / (canary * (1 - canary))
        if middle * (1 + tilt * (1 - middle)) < base:
            low = middle
        else:
            high = middle
    return high
