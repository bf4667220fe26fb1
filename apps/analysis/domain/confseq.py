"""Evidence about a mean, slice by slice: whole slices are the observations. Pure.

Of each slice one number counts, y = canary's mean - slope * stable's mean, weighted by the slice's
size n_s n_c / (n_s + n_c). Whether its mean lies beyond the line's intercept is tested by a normal
mixture with the running variance: Robbins' boundary as in Howard, Ramdas, McAuliffe and Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021), made asymptotic by
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences" (2024); sequential canaries at Netflix are judged so (Lindon, Sanden and
Shirikian, "Rapid regression detection in software deployments through sequential testing", 2022).

With S the sum of weighted deviations and V its variance, the one-sided e-value is the integral of
exp(d S - d^2 V / 2) over a half-normal d of scale tau:

    2 / sqrt(1 + tau^2 V) * exp(tau^2 S^2 / (2 (1 + tau^2 V))) * Phi(tau S / sqrt(1 + tau^2 V)).

It holds as slices become many, so nothing is said before `LEAST` slices; and because slices, not
requests, are taken as independent, whatever makes requests of one slice alike does no harm.
"""

import math
from dataclasses import dataclass, replace

from apps.analysis.domain.lines import Line, line_of, oriented
from apps.analysis.domain.values import Metric, Slice
from controlplane.kernel.quantities import Tally

LEAST = 10  # slices
CARRIED = 2.0  # as for shares
STAKED = 0.5  # on the mean of the whole run; the rest on single steps
_TUNED = 0.15  # tau^2 times a slice's variance: narrowest at some sixty slices
_LOST = 3  # slices' worth of freedom: a small sample's variance is too small
_MOST_LOG = 200.0
NOTHING = Tally()


@dataclass(frozen=True)
class Sums:
    """Weighted sums of y from some slice on.

    Attributes:
        slices: How many.
        weight: Sum of w.
        first: Sum of w y.
        squares: Sums of w^2, w^2 y and w^2 y^2.
    """

    slices: int = 0
    weight: float = 0.0
    first: float = 0.0
    squares: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class MeanState:
    """What is remembered of a mean.

    Attributes:
        stable: All observations of stable, larger is worse.
        canary: All of the canary.
        elapsed: Seconds of slices so far.
        origin: The first difference seen; sums are taken about it, or digits would be lost.
        plain: Sums of canary minus stable, over the whole run.
        above: Sums about the tolerance's line, over the whole run.
        above_step: The same since the step began.
        below_step: Sums about the margin's line since the step began.
        below: The same over the whole run; for the variance.
        earned: What bets on earlier steps have come to.
        step: How many steps have begun.
        kept: The capital with which "not worse" began this step.
        per_second: Slices with both sides per second, lately.
    """

    stable: Tally = NOTHING
    canary: Tally = NOTHING
    elapsed: float = 0.0
    origin: tuple[float, float, float] | None = None
    plain: Sums = Sums()
    above: Sums = Sums()
    above_step: Sums = Sums()
    below: Sums = Sums()
    below_step: Sums = Sums()
    earned: float = 0.0
    step: int = 1
    kept: float = 1.0
    per_second: float = 0.0


def begin() -> MeanState:
    """Return the state before the first slice."""
    return MeanState()


def advance(metric: Metric, state: MeanState, piece: Slice) -> MeanState:
    """Return the state after one more slice; one without both sides only passes time."""
    stable, canary = oriented(metric, piece.stable), oriented(metric, piece.canary)
    timed = replace(
        state, elapsed=state.elapsed + piece.seconds, per_second=_pace(state, piece),
        stable=state.stable + stable, canary=state.canary + canary,
    )  # fmt: skip
    if stable.mean is None or canary.mean is None:
        return timed
    up, down = line_of(metric, metric.tolerance), line_of(metric, metric.margin)
    seen = tuple(canary.mean - slope * stable.mean for slope in (1.0, up.slope, down.slope))
    origin = state.origin or (seen[0], seen[1], seen[2])
    y, y_up, y_down = (value - zero for value, zero in zip(seen, origin, strict=True))
    weight = stable.count * canary.count / (stable.count + canary.count)
    return replace(
        timed,
        origin=origin,
        plain=_added(state.plain, y, weight),
        above=_added(state.above, y_up, weight),
        above_step=_added(state.above_step, y_up, weight),
        below=_added(state.below, y_down, weight),
        below_step=_added(state.below_step, y_down, weight),
    )


def new_step(metric: Metric, state: MeanState) -> MeanState:
    """Return the state at the beginning of a step; see `rates.new_step`.

    The bet on the past step is closed and its gain kept; the next takes its part of the stakes,
    1 / (k (k + 1)) for the k-th step, which sums to one.
    """
    return replace(
        state,
        earned=state.earned + _part(state.step) * _single(metric, state, state.above_step),
        step=state.step + 1,
        above_step=Sums(),
        below_step=Sums(),
        kept=min(math.sqrt(not_worse(metric, state)), CARRIED),
    )


def worse(metric: Metric, state: MeanState) -> float:
    """Return the e-value of "worse": half on the whole run, half on the steps one by one."""
    steps = (
        state.earned
        + _part(state.step) * _single(metric, state, state.above_step)
        + 1 / (state.step + 1)  # what later steps will get
    )
    return STAKED * _single(metric, state, state.above) + (1 - STAKED) * steps


def not_worse(metric: Metric, state: MeanState) -> float:
    """Return the e-value of "not worse", about the current step."""
    line = line_of(metric, metric.margin)
    return state.kept * _e_value(state.below_step, state.below, _shift(state, line, 2), -1.0)


def interval(state: MeanState, *, alpha: float) -> tuple[float, float] | None:
    """Return the confidence sequence of canary minus stable, larger worse; None when too early."""
    sums = state.plain
    if sums.slices < LEAST or state.origin is None:
        return None
    variance = max(_variance(sums, sums), 1e-300)
    tuned = variance / sums.slices / _TUNED
    radius = math.sqrt((variance + tuned) * math.log((variance + tuned) / tuned / alpha**2))
    half = radius / sums.weight
    return middle(state) - half, middle(state) + half


def middle(state: MeanState) -> float:
    """Return how much larger the canary's mean is; 0 when nobody knows."""
    if state.origin is None:
        return 0.0
    return state.origin[0] + state.plain.first / state.plain.weight


def remaining_slices(metric: Metric, state: MeanState, *, goals: tuple[float, float]) -> float:
    """Return how many more slices until an answer, if the mean stays; infinite when never.

    Args:
        metric: Which.
        state: So far.
        goals: The e-values from which "worse" and "not worse" are proven.
    """
    if state.above.slices < LEAST:
        return float(LEAST - state.above.slices) + 1
    up, down = line_of(metric, metric.tolerance), line_of(metric, metric.margin)
    return min(
        _until(state.above, state.above, _shift(state, up, 1), 1.0, goals[0] / STAKED),
        _until(state.below_step, state.below, _shift(state, down, 2), -1.0, goals[1] / state.kept),
    )


def _single(metric: Metric, state: MeanState, sums: Sums) -> float:
    line = line_of(metric, metric.tolerance)
    return _e_value(sums, state.above, _shift(state, line, 1), 1.0)


def _shift(state: MeanState, line: Line, index: int) -> float:
    """Return the line's intercept as seen from the origin of the sums."""
    return line.intercept - (state.origin[index] if state.origin else 0.0)


def _part(step: int) -> float:
    return 1 / (step * (step + 1))


def _added(sums: Sums, y: float, weight: float) -> Sums:
    square = weight * weight
    none, one, two = sums.squares
    return Sums(
        sums.slices + 1,
        sums.weight + weight,
        sums.first + weight * y,
        (none + square, one + square * y, two + square * y * y),
    )


def _e_value(sums: Sums, whole: Sums, limit: float, sign: float) -> float:
    """Return the e-value that y's mean lies beyond `limit`, in the direction of `sign`."""
    if whole.slices < LEAST or not sums.slices:
        return 1.0
    variance = _variance(sums, whole)
    if variance <= 0:
        return 1.0  # every slice alike: a constant, not a measurement
    return _mixture(sign * (sums.first - limit * sums.weight), variance, sums.slices)


def _variance(sums: Sums, whole: Sums) -> float:
    """Return the variance of the sum of w y, the mean taken over the whole run."""
    mean = whole.first / whole.weight
    none, one, two = whole.squares
    spread = max(two - 2 * mean * one + mean * mean * none, 0.0)
    inflated = spread * whole.slices / (whole.slices - _LOST)
    return inflated * sums.squares[0] / none


def _mixture(deviation: float, variance: float, slices: int) -> float:
    """Return the half-normal mixture's e-value."""
    tau = _TUNED * slices / variance
    spread = 1 + tau * variance
    score = deviation * math.sqrt(tau / spread)
    normal = 0.5 * math.erfc(-score / math.sqrt(2))
    return 2 / math.sqrt(spread) * normal * math.exp(min(score * score / 2, _MOST_LOG))


def _until(sums: Sums, whole: Sums, limit: float, sign: float, goal: float) -> float:
    """Return how many slices more until the e-value passes `goal`, by doubling."""
    per_slice = sign * (whole.first - limit * whole.weight) / whole.slices
    spread = _variance(whole, whole) / whole.slices
    if per_slice <= 0 or spread <= 0:
        return math.inf
    seen = sign * (sums.first - limit * sums.weight)
    more = 1.0
    while more < 1e7:
        slices = sums.slices + more
        if _mixture(seen + more * per_slice, spread * slices, round(slices)) >= goal:
            return more
        more *= 1.25
    return math.inf


def _pace(state: MeanState, piece: Slice) -> float:
    """Return slices with both sides per second, older ones fading over thirty slices."""
    if piece.seconds <= 0:
        return state.per_second
    now = (1 if piece.stable.count and piece.canary.count else 0) / piece.seconds
    return now if not state.elapsed else state.per_second + (now - state.per_second) / 30
