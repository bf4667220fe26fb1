"""Our judge of shares, for thousands of runs side by side.

The bets themselves come from `apps.analysis.domain.twobytwo`; here are only the sums and wealth
in NumPy, because a loop over millions of slices in Python would take an hour. `check` runs the
judge itself over some of the same runs and refuses to go on when a single e-value differs.
"""

import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from apps.analysis.domain import judge, lines, rates, twobytwo, wealth
from apps.analysis.domain.judge import Plan
from apps.analysis.domain.limits import TIMES, Limits
from apps.analysis.domain.values import Metric, Slice, SourceKind
from bench.canary.ladder import EPOCH, STANDING, Ladder
from bench.canary.traffic import LOOK_SECONDS, LOOKS, PER_MINUTE, Stream
from controlplane.kernel.quantities import of_share

Floats = NDArray[np.float64]
_CLOSE = 1e-6


class Lane:
    """One metric of many runs."""

    def __init__(self, metric: Metric, *, runs: int, dispersion: float) -> None:
        self.metric, self.dispersion = metric, dispersion
        self.up, self.down = rates.lines(metric)
        self.count, self.hits = np.zeros(runs), np.zeros(runs)
        self.elapsed = 0.0
        self.worse = _Pot(twobytwo.WORSE_WEIGHTS, rates.WORSE_STAKED, runs)
        self.not_worse = _Pot(twobytwo.NOT_WORSE_WEIGHTS, rates.NOT_WORSE_STAKED, runs)

    def advance(self, n_s: Floats, x_s: Floats, n_c: Floats, x_c: Floats) -> None:
        """Take one slice of every run."""
        base = np.minimum(
            (self.hits + rates.PRIOR_HITS) / (self.count + rates.PRIOR_COUNT), twobytwo.HIGHEST
        )
        share = wealth.share_due(elapsed=self.elapsed, seconds=LOOK_SECONDS)
        both = (n_s > 0) & (n_c > 0)
        ratio = np.where(both, n_c / np.maximum(n_s, 1), 1.0)
        for pot, line, bets in (
            (self.worse, self.up, twobytwo.worse_bets),
            (self.not_worse, self.down, twobytwo.not_worse_bets),
        ):
            table = _table(bets, line, base, ratio)
            logs = _logs(table, line.slope * ratio, n_s, x_s, n_c, x_c) * both[:, None]
            pot.grow(logs / self.dispersion, share)
        kept = math.exp(-LOOK_SECONDS / rates.MEMORY)
        self.hits = self.hits * kept + np.minimum(x_s, rates.JUMP * n_s * base + 3)
        self.count = self.count * kept + n_s
        self.elapsed += LOOK_SECONDS

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Go on with some of the runs only."""
        self.count, self.hits = self.count[which], self.hits[which]
        for pot in (self.worse, self.not_worse):
            pot.stakes = pot.stakes[which]


class _Pot:
    def __init__(self, weights: Sequence[float], staked: float, runs: int) -> None:
        self.weights = np.array(weights)
        self.cash = 1 - staked
        self.stakes = np.tile(staked * self.weights, (runs, 1))

    def grow(self, logs: Floats, share: float) -> None:
        fresh = self.cash * share
        gains = np.exp(np.minimum(logs, wealth.MOST_LOG))
        self.stakes = np.minimum((self.stakes + fresh * self.weights) * gains, wealth.MOST)
        self.cash -= fresh

    @property
    def value(self) -> Floats:
        total: Floats = self.cash + self.stakes.sum(axis=1)
        return total


def aborted(plan: Plan, limits: Limits, stream: Stream) -> Floats:
    """Return the minute at which each run is aborted, by evidence or by a limit; or infinity."""
    when = np.full(len(stream.canary), np.inf)
    going = np.arange(len(when))
    limit = over_limit(limits, stream)
    lanes = _lanes(plan, runs=len(when))
    for look in range(LOOKS):
        _advance(lanes, stream, going, look)
        ends = (_combined(lanes) >= plan.proven_at) | limit[going, look]
        when[going[ends]] = (look + 1) * LOOK_SECONDS / 60
        if ends.any():
            going = going[~ends]
            for lane in lanes:
                lane.keep(~ends)
        if not len(going):
            break
    return when


def walk(plan: Plan, stream: Stream) -> tuple[Floats, Floats]:
    """Return, by run and look, the combined "worse" and the least "not worse"."""
    runs = len(stream.canary)
    lanes = _lanes(plan, runs=runs)
    worse, not_worse = np.empty((runs, LOOKS)), np.empty((runs, LOOKS))
    for look in range(LOOKS):
        _advance(lanes, stream, np.arange(runs), look)
        worse[:, look] = _combined(lanes)
        not_worse[:, look] = np.min([lane.not_worse.value for lane in lanes], axis=0)
    return worse, not_worse


def _lanes(plan: Plan, *, runs: int) -> list[Lane]:
    return [
        Lane(metric, runs=runs, dispersion=plan.dispersion.get(metric.name, 1.0))
        for metric in plan.metrics
    ]


def _advance(lanes: Sequence[Lane], stream: Stream, going: NDArray[np.int64], look: int) -> None:
    for lane in lanes:
        lane.advance(*(c[going, look].astype(float) for c in counts(lane.metric, stream)))


def _combined(lanes: Sequence[Lane]) -> Floats:
    combined: Floats = np.mean([lane.worse.value for lane in lanes], axis=0)
    return combined


def counts(metric: Metric, stream: Stream) -> tuple[NDArray[np.int64], ...]:
    """Return what one metric counts: of stable and hits, of the canary and hits."""
    if metric.source is SourceKind.SLOW:
        return stream.stable, stream.stable_slow, stream.canary, stream.canary_slow
    if metric.source is SourceKind.REFUSED:
        return stream.stable, stream.stable_refused, stream.canary, stream.canary_refused
    return stream.stable, stream.stable_failed, stream.canary, stream.canary_failed


def over_limit(limits: Limits, stream: Stream) -> NDArray[np.bool_]:
    """Return, by run and look, whether the hard limit of errors is passed."""
    n_s, x_s, n_c, x_c = (
        _last_minute(c)
        for c in (stream.stable, stream.stable_failed, stream.canary, stream.canary_failed)
    )
    stable_too = (n_s > 0) & (x_s * TIMES * n_c > x_c * n_s)
    found: NDArray[np.bool_] = (
        (x_c >= limits.least_errors) & (x_c > limits.page_share * n_c) & ~stable_too
    )
    return found


def check(plan: Plan, limits: Limits, stream: Stream, when: Floats, *, runs: int) -> None:
    """Run the judge and the policy themselves over the first `runs` and compare.

    Raises:
        AssertionError: The two differ: this bench would measure something else.
    """
    worse, _ = walk(plan, stream.head(runs))
    for run in range(runs):
        ladder = Ladder(plan, limits, steps=STANDING)
        for look in range(LOOKS):
            ladder.look(slices(plan, stream, run, look))
            ours = judge.judge(plan, ladder.judged).combined_worse
            if abs(ours / worse[run, look] - 1) > _CLOSE:
                raise AssertionError(f"Look {look} of run {run}: {ours}, not {worse[run, look]}.")
            if ladder.ended:
                break
        ended = ladder.minutes if ladder.ended else math.inf
        if not math.isclose(ended, when[run]):
            raise AssertionError(f"Run {run} ended at minute {ended}, not {when[run]}.")


def slices(plan: Plan, stream: Stream, run: int, look: int) -> dict[str, list[Slice]]:
    """Return one look of one run as the judge takes it."""
    at = EPOCH + timedelta(seconds=LOOK_SECONDS * look)
    found = {}
    for metric in plan.metrics:
        n_s, x_s, n_c, x_c = (float(c[run, look]) for c in counts(metric, stream))
        found[metric.name] = [Slice(at, LOOK_SECONDS, of_share(n_s, x_s), of_share(n_c, x_c))]
    return found


def _last_minute(values: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = values.cumsum(axis=1)
    before = np.zeros_like(sums)
    before[:, PER_MINUTE:] = sums[:, :-PER_MINUTE]
    last: NDArray[np.int64] = sums - before
    return last


def _table(bets: object, line: lines.Line, base: Floats, ratio: Floats) -> Floats:
    """Return each run's bets, of shape (runs, alternatives, 4)."""
    steps = np.stack(
        [np.round(np.log(base) / twobytwo.GRID), np.round(np.log(ratio) / twobytwo.GRID)], axis=1
    )
    kinds, which = np.unique(steps, axis=0, return_inverse=True)
    rows = [
        [
            (bet.stable, bet.tilt, bet.hit, bet.miss)
            for bet in bets(  # type: ignore[operator]
                line, base=math.exp(b * twobytwo.GRID), ratio=math.exp(r * twobytwo.GRID)
            )
        ]
        for b, r in kinds
    ]
    table: Floats = np.array(rows)[which.reshape(-1)]
    return table


def _logs(
    table: Floats, slope: Floats, n_s: Floats, x_s: Floats, n_c: Floats, x_c: Floats
) -> Floats:
    stable, tilt, hit, miss = np.moveaxis(table, 2, 0)
    other = -slope[:, None] * tilt
    gain, loss = other * (1 - stable), -other * stable
    cut = np.maximum(-np.minimum(gain, loss) / 0.98, 1.0)
    if (cut > 1).any():
        canary = _canary_of(tilt, miss)
        hit = np.where(cut > 1, np.log1p(tilt / cut * (1 - canary)), hit)
        miss = np.where(cut > 1, np.log1p(-tilt / cut * canary), miss)
    logs: Floats = (
        x_c[:, None] * hit
        + (n_c - x_c)[:, None] * miss
        + x_s[:, None] * np.log1p(gain / cut)
        + (n_s - x_s)[:, None] * np.log1p(loss / cut)
    )
    return logs


def _canary_of(tilt: Floats, miss: Floats) -> Floats:
    """Return p_c, from the factor of a miss."""
    return np.where(tilt != 0, -np.expm1(miss) / np.where(tilt != 0, tilt, 1.0), 0.5)
