"""E-variables for one share against a fixed limit: of a canary that is only mirrored. Pure.

With p the limit and q beyond it, the likelihood ratio (q/p)^hits ((1-q)/(1-p))^misses has an
expectation of at most 1 for every share on the limit's other side, because each factor's
expectation 1 + (q-p)(theta-p) / (p(1-p)) is.
"""

import math

from apps.analysis.domain.twobytwo import LOWEST, with_odds
from controlplane.kernel.quantities import Tally

ODDS = (1.4, 2.0, 3.5, 10.0)
WEIGHTS = (0.3, 0.3, 0.25, 0.15)


def above(limit: float, tally: Tally) -> tuple[float, ...]:
    """Return the logarithms of the e-values against "at or below the limit"."""
    return tuple(_log_ratio(limit, with_odds(limit, odds), tally) for odds in ODDS)


def below(limit: float, tally: Tally) -> tuple[float, ...]:
    """Return the logarithms of the e-values against "at or above the limit"."""
    return tuple(_log_ratio(limit, with_odds(limit, 1 / odds), tally) for odds in ODDS)


def _log_ratio(limit: float, aim: float, tally: Tally) -> float:
    p = max(limit, LOWEST)
    if p >= 1:
        return 0.0
    hit, miss = math.log(aim / p), math.log((1 - aim) / (1 - p))
    return tally.total * hit + (tally.count - tally.total) * miss
