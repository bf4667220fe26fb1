"""Traffic of a canary and its stable side, for many runs at once.

Requests arrive evenly, which is kinder to rules that look at a minute's share than real traffic;
each fails, or is slow, by chance, with a share that the scenario sets for every look. Latencies
are a mixture of two lognormals (most requests and some larger ones); of each request only whether
it took longer than the threshold matters, so that is drawn directly, with the mixture's own tail
as its share.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

LOOK_SECONDS = 10
LOOKS = 360  # an hour
PER_MINUTE = 6
CANARY_WEIGHT = 0.1
FAILING = 0.005  # stable's share of errors
REFUSED = 0.01  # stable's share of refused requests: callers make mistakes
THRESHOLD_MS = 250.0


@dataclass(frozen=True)
class Latency:
    """A mixture of two lognormals, in milliseconds."""

    fast_ms: float = 60.0
    slow_ms: float = 110.0
    slow_share: float = 0.25
    spread: float = 0.45  # of the logarithm, in both

    def over(self, threshold_ms: float) -> float:
        """Return the share of requests that take longer."""
        return (1 - self.slow_share) * self._tail(self.fast_ms, threshold_ms) + (
            self.slow_share * self._tail(self.slow_ms, threshold_ms)
        )

    def times(self, factor: float) -> "Latency":
        """Return the latencies when every request takes `factor` times as long."""
        return Latency(self.fast_ms * factor, self.slow_ms * factor, self.slow_share, self.spread)

    def _tail(self, median_ms: float, threshold_ms: float) -> float:
        return 0.5 * math.erfc(math.log(threshold_ms / median_ms) / self.spread / math.sqrt(2))


USUAL = Latency()


def _always(share: float) -> Callable[[Shares], Shares]:
    return lambda minutes: np.full_like(minutes, share)


@dataclass(frozen=True)
class Scenario:
    """What happens in an hour.

    Attributes:
        name: For the table.
        rps: Requests per second on the canary; stable has nine times as many.
        failing: The canary's share of errors at a minute; stable's is `FAILING`.
        slow: The canary's share of slow requests at a minute; stable's is that of `USUAL`.
        refused: The canary's share of refused requests; stable's is `REFUSED`.
        begins: The minute at which the canary gets worse; None for a healthy one.
        bursts: Share of errors on both sides in about three minutes of the hour, or 0.
        cv: Standard deviation over mean of a factor on each side's shares that is drawn anew for
            every minute, for each side by itself: what makes requests not independent.
    """

    name: str
    rps: float
    failing: Callable[[Shares], Shares] = field(default_factory=lambda: _always(FAILING))
    slow: Callable[[Shares], Shares] = field(
        default_factory=lambda: _always(USUAL.over(THRESHOLD_MS))
    )
    refused: Callable[[Shares], Shares] = field(default_factory=lambda: _always(REFUSED))
    begins: float | None = None
    bursts: float = 0.0
    cv: float = 0.0


@dataclass(frozen=True)
class Stream:
    """Counts by run and look: of shape (runs, LOOKS)."""

    stable: Counts
    stable_failed: Counts
    stable_slow: Counts
    stable_refused: Counts
    canary: Counts
    canary_failed: Counts
    canary_slow: Counts
    canary_refused: Counts

    def head(self, runs: int) -> "Stream":
        """Return the first runs."""
        return Stream(*(getattr(self, field.name)[:runs] for field in fields(self)))

    def minutes(self, counts: Counts) -> Counts:
        """Return counts by run and minute."""
        summed: Counts = counts.reshape(len(counts), -1, PER_MINUTE).sum(axis=2)
        return summed


def draw(scenario: Scenario, *, runs: int, rng: np.random.Generator) -> Stream:
    """Return the traffic of `runs` independent hours."""
    minutes = np.arange(LOOKS) * LOOK_SECONDS / 60
    shape = (runs, LOOKS)
    burst, none = _bursts(scenario, runs=runs, rng=rng), np.zeros(shape)
    stable = np.full(shape, round(scenario.rps * LOOK_SECONDS * (1 / CANARY_WEIGHT - 1)))
    canary = np.full(shape, round(scenario.rps * LOOK_SECONDS))
    slow = USUAL.over(THRESHOLD_MS)
    sides = {
        "stable_failed": (stable, np.full(LOOKS, FAILING), burst),
        "stable_slow": (stable, np.full(LOOKS, slow), burst),
        "stable_refused": (stable, np.full(LOOKS, REFUSED), none),
        "canary_failed": (canary, scenario.failing(minutes), burst),
        "canary_slow": (canary, scenario.slow(minutes), burst),
        "canary_refused": (canary, scenario.refused(minutes), none),
    }
    drawn = {
        name: rng.binomial(count, _share(share, both, scenario.cv, rng))
        for name, (count, share, both) in sides.items()
    }
    return Stream(stable=stable, canary=canary, **drawn)


def _share(share: Shares, burst: Shares, cv: float, rng: np.random.Generator) -> Shares:
    """Return the share by run and look, with what is drawn for every minute."""
    runs = len(burst)
    factor = np.ones((runs, LOOKS // PER_MINUTE))
    if cv:
        factor = rng.gamma(1 / cv**2, cv**2, factor.shape)
    varied: Shares = np.minimum(share * np.repeat(factor, PER_MINUTE, axis=1), 1.0)
    return np.maximum(varied, burst)


def _bursts(scenario: Scenario, *, runs: int, rng: np.random.Generator) -> Shares:
    """Return the share that fails on both sides because of something behind both."""
    burst = np.zeros((runs, LOOKS))
    if scenario.bursts:
        begun = rng.random((runs, LOOKS)) < 6 / LOOKS  # six in an hour, of half a minute each
        for late in range(3):
            burst[:, late:] = np.maximum(burst[:, late:], begun[:, : LOOKS - late])
    return burst * scenario.bursts


def step(before: float, after: float, *, at: float = 0.0) -> Callable[[Shares], Shares]:
    """Return a share that jumps at a minute."""
    return lambda minutes: np.where(minutes >= at, after, before)


def ramp(before: float, after: float, *, minutes_long: float) -> Callable[[Shares], Shares]:
    """Return a share that grows evenly from the first minute on."""
    return lambda minutes: before + (after - before) * np.minimum(minutes / minutes_long, 1.0)
