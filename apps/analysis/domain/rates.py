"""The evidence about one share, slice by slice: canary against stable, or against a limit. Pure.

Everything that decides a bet (stable's share, the stakes) comes from earlier slices; only how many
observations a slice has may be used at once, because the traffic does not know the answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from apps.analysis.domain import onesample, twobytwo, wealth
from apps.analysis.domain.lines import Line, line_of, oriented
from apps.analysis.domain.values import Metric, Slice, SourceKind
from apps.analysis.domain.wealth import Wealth
from controlplane.kernel.quantities import Tally

WORSE_STAKED, NOT_WORSE_STAKED = 0.6, 0.8  # from the start; the rest comes later
CARRIED = 2.0  # at most this much evidence of earlier steps counts in a new one
MEMORY = 1800.0  # seconds: how fast stable's share forgets
PRIOR_HITS, PRIOR_COUNT = 0.5, 50.0  # a share of 1 % worth fifty observations
JUMP = 4.0  # one slice moves stable's share by no more than this many times
RECENT = 300.0  # seconds of traffic by which the remaining time is estimated
_NO_UP = (0.0,) * len(twobytwo.WORSE_WEIGHTS)
_NO_DOWN = (0.0,) * len(twobytwo.NOT_WORSE_WEIGHTS)
_NOTHING, _NO_GROWTH = 1e-30, 1e-9  # below them a wealth, or its growth per second, is none
_TUNED = 60.0  # events at which the interval is narrowest
NOTHING = Tally()


@dataclass(frozen=True)
class RateState:
    """What is remembered of a share.

    Attributes:
        stable: All observations of stable, larger is worse.
        canary: All of the canary.
        worse: The wealth bet on "worse".
        not_worse: The wealth bet on "not worse".
        elapsed: Seconds of slices so far.
        base: Stable's observations as they are remembered, for the next bets.
        traffic: Observations per second lately, of stable and of the canary.
        weight: Sum of the slices' weights in the difference.
        difference: Weighted sum of canary minus stable.
        variance: Weighted sum of the variances.
    """

    worse: Wealth
    not_worse: Wealth
    stable: Tally = NOTHING
    canary: Tally = NOTHING
    elapsed: float = 0.0
    base: Tally = NOTHING
    traffic: tuple[float, float] = (0.0, 0.0)
    weight: float = 0.0
    difference: float = 0.0
    variance: float = 0.0


def begin(metric: Metric) -> RateState:
    """Return the state before the first slice."""
    up, down = weights(metric)
    return RateState(
        worse=wealth.begin(up, staked=WORSE_STAKED),
        not_worse=wealth.begin(down, staked=NOT_WORSE_STAKED),
    )


def weights(metric: Metric) -> tuple[Sequence[float], Sequence[float]]:
    """Return how stakes are divided among the alternatives of "worse" and of "not worse"."""
    if is_one_sample(metric):
        return onesample.WEIGHTS, onesample.WEIGHTS
    return twobytwo.WORSE_WEIGHTS, twobytwo.NOT_WORSE_WEIGHTS


def is_one_sample(metric: Metric) -> bool:
    """Return whether the canary is held against a fixed limit, there being no stable side."""
    return metric.source is SourceKind.DISAGREEMENT


def advance(metric: Metric, state: RateState, piece: Slice, *, dispersion: float) -> RateState:
    """Return the state after one more slice."""
    stable, canary = oriented(metric, piece.stable), oriented(metric, piece.canary)
    up, down = logs(metric, base_of(state.base), stable=stable, canary=canary)
    share = wealth.share_due(elapsed=state.elapsed, seconds=piece.seconds)
    by_up, by_down = weights(metric)
    # e to the power of 1/dispersion: still an e-variable without dispersion (Jensen), and a
    # quasi-likelihood ratio with it.
    up, down = [log / dispersion for log in up], [log / dispersion for log in down]
    weight, difference, variance = _difference(state, stable, canary, dispersion=dispersion)
    return RateState(
        worse=wealth.grow(state.worse, up, weights=by_up, share=share),
        not_worse=wealth.grow(state.not_worse, down, weights=by_down, share=share),
        stable=state.stable + stable,
        canary=state.canary + canary,
        elapsed=state.elapsed + piece.seconds,
        base=_remembered(state.base, stable, seconds=piece.seconds),
        traffic=_recent(state, piece),
        weight=weight,
        difference=difference,
        variance=variance,
    )


def new_step(metric: Metric, state: RateState) -> RateState:
    """Return the state at the beginning of a step of the rollout.

    A change is likelier here: a third of the cash is staked on one that begins now. "Not worse"
    must be shown anew: of its wealth M the square root counts on, and at most `CARRIED`. Both keep
    it an e-process (E sqrt(M) <= sqrt(E M) by Jensen, and wealth may be given away), so over all
    steps the chance of calling a canary not worse that always was worse is at most alpha; and for
    one that turns worse in just this step it is at most `CARRIED` * alpha.
    """
    up, down = weights(metric)
    kept = min(math.sqrt(state.not_worse.value), CARRIED)
    return replace(
        state,
        worse=wealth.staked(state.worse, weights=up),
        not_worse=wealth.begin(down, staked=NOT_WORSE_STAKED, capital=kept),
    )


def logs(
    metric: Metric, base: float, *, stable: Tally, canary: Tally
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the logarithms of a block's e-values, for "worse" and for "not worse"."""
    if is_one_sample(metric):
        return (
            onesample.above(metric.tolerance.absolute, canary),
            onesample.below(metric.margin.absolute, canary),
        )
    up, down = lines(metric)
    if not stable.count or not canary.count:
        return _NO_UP, _NO_DOWN
    ratio = canary.count / stable.count
    worse = twobytwo.worse_bets(up, base=base, ratio=ratio)
    not_worse = twobytwo.not_worse_bets(down, base=base, ratio=ratio)
    return (
        twobytwo.log_es(worse, up, stable=stable, canary=canary),
        twobytwo.log_es(not_worse, down, stable=stable, canary=canary),
    )


def lines(metric: Metric) -> tuple[Line, Line]:
    """Return the lines of the tolerance and of the margin."""
    return line_of(metric, metric.tolerance), line_of(metric, metric.margin)


def base_of(remembered: Tally) -> float:
    """Return stable's share for the next bets."""
    share = (remembered.total + PRIOR_HITS) / (remembered.count + PRIOR_COUNT)
    return min(share, twobytwo.HIGHEST)


def remaining_seconds(
    metric: Metric, state: RateState, *, goals: tuple[float, float], dispersion: float
) -> float:
    """Return how long until an answer if traffic and shares stay; infinite when never.

    Args:
        metric: Which.
        state: So far.
        goals: The e-values from which "worse" and "not worse" are proven.
        dispersion: As in `advance`.
    """
    base = base_of(state.base)
    seen = state.canary.count + PRIOR_COUNT
    canary = (state.canary.total + base * PRIOR_COUNT) / seen
    up, down = logs(
        metric, base,
        stable=_expected(state.traffic[0], base), canary=_expected(state.traffic[1], canary),
    )  # fmt: skip
    return dispersion * min(
        _until(state.worse, up, goals[0]), _until(state.not_worse, down, goals[1])
    )


def middle(state: RateState) -> float:
    """Return how much larger the canary's share is, slice by slice; 0 when nobody knows."""
    return state.difference / state.weight if state.weight else 0.0


def interval(state: RateState, *, alpha: float) -> tuple[float, float] | None:
    """Return an anytime-valid interval of canary minus stable; None without both sides.

    The difference is weighted by slice as Mantel and Haenszel do, so that a day whose shares and
    weights both change does not blur it. Around it lies a normal-mixture confidence sequence with
    the running variance (Robbins; Howard et al.; Waudby-Smith et al.): valid asymptotically, and
    only for the page. No decision rests on it.
    """
    if not state.weight:
        return None
    # One event more than were seen: no events are no proof of no variance.
    least = state.weight / max(state.canary.count, 1.0)
    variance = state.variance + least
    tuned = _TUNED * least
    radius = math.sqrt((variance + tuned) * math.log((variance + tuned) / tuned / alpha**2))
    half = radius / state.weight
    return max(middle(state) - half, -1.0), min(middle(state) + half, 1.0)


def _until(pot: Wealth, growth: Sequence[float], goal: float) -> float:
    """Return the seconds until `pot` reaches `goal`, growing like its soonest alternative."""
    rate = max(growth)
    if rate <= _NO_GROWTH:
        return math.inf
    return max(math.log(goal / max(pot.value, _NOTHING)), 0.0) / rate


def _expected(per_second: float, share: float) -> Tally:
    return Tally(per_second, per_second * share, per_second * share)


def _remembered(base: Tally, stable: Tally, *, seconds: float) -> Tally:
    """Return stable's observations with older ones fading.

    A burst that hits both sides must not spoil the bets after it, so a slice's hits count up to
    `JUMP` times what was expected (and three more).
    """
    kept = math.exp(-seconds / MEMORY)
    hits = min(stable.total, JUMP * stable.count * base_of(base) + 3)
    total = base.total * kept + hits
    return Tally(base.count * kept + stable.count, total, total)


def _recent(state: RateState, piece: Slice) -> tuple[float, float]:
    """Return the traffic per second, older seconds fading; at first, the mean of all."""
    if piece.seconds <= 0:
        return state.traffic
    seen = RECENT * -math.expm1(-state.elapsed / RECENT)
    now = RECENT * -math.expm1(-piece.seconds / RECENT)
    old = seen * math.exp(-piece.seconds / RECENT)
    rates = (piece.stable.count / piece.seconds, piece.canary.count / piece.seconds)
    return (
        (state.traffic[0] * old + rates[0] * now) / (old + now),
        (state.traffic[1] * old + rates[1] * now) / (old + now),
    )


def _difference(
    state: RateState, stable: Tally, canary: Tally, *, dispersion: float
) -> tuple[float, float, float]:
    """Return the sums of the interval with one more slice."""
    both = stable.count + canary.count
    if not stable.count or not canary.count:
        return state.weight, state.difference, state.variance
    weight = stable.count * canary.count / both
    share = (stable.total + canary.total) / both
    by = canary.total / canary.count - stable.total / stable.count
    return (
        state.weight + weight,
        state.difference + weight * by,
        state.variance + dispersion * weight * share * (1 - share),
    )
