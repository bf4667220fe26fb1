import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.analysis.domain import onesample, twobytwo, wealth
from apps.analysis.domain.lines import Line, line_of
from apps.analysis.domain.values import Allowance, Better, Metric, MetricKind, SourceKind
from controlplane.kernel.quantities import of_share

SLACK = 1e-9
LINES = [Line(1.0, 0.0), Line(1.25, 0.0005), Line(1.0, 0.01), Line(2.0, 0.1), Line(0.9, 0.1)]
SIZES = [(1, 1), (5, 1), (1, 5), (3, 3), (2, 6)]
SHARES = [0.0, 0.001, 0.01, 0.1, 0.3, 0.6, 1.0]


def _bets(side: str, line: Line, base: float, ratio: float) -> tuple[twobytwo.Bet, ...]:
    make = twobytwo.worse_bets if side == "worse" else twobytwo.not_worse_bets
    return make(line, base=base, ratio=ratio)


def _chance(hits: int, count: int, share: float) -> float:
    return math.comb(count, hits) * share**hits * (1 - share) ** (count - hits)


def _expectations(
    side: str, line: Line, base: float, size: tuple[int, int], shares: tuple[float, float]
) -> np.ndarray:
    """Return each bet's expected e-value, by going through every outcome of a block."""
    n_s, n_c = size
    bets = _bets(side, line, base, n_c / n_s)
    total = np.zeros(len(bets))
    for x_s, x_c in itertools.product(range(n_s + 1), range(n_c + 1)):
        logs = twobytwo.log_es(bets, line, stable=of_share(n_s, x_s), canary=of_share(n_c, x_c))
        total += _chance(x_s, n_s, shares[0]) * _chance(x_c, n_c, shares[1]) * np.exp(logs)
    return total


@pytest.mark.parametrize("line", LINES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("base", [0.001, 0.02, 0.4])
def test_no_block_gains_on_average_while_the_canary_is_within_the_line(
    line: Line, size: tuple[int, int], base: float
) -> None:
    for stable in SHARES:
        edge = min(line.at(stable), 1.0)
        for canary in (edge, edge * 0.99, edge / 2, 0.0):
            found = _expectations("worse", line, base, size, (stable, canary))
            assert found.max() <= 1 + SLACK, (stable, canary)


@pytest.mark.parametrize("line", LINES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("base", [0.001, 0.02, 0.4])
def test_no_block_gains_on_average_while_the_canary_is_beyond_the_margin(
    line: Line, size: tuple[int, int], base: float
) -> None:
    for stable in SHARES:
        edge = line.at(stable)
        for canary in (edge, edge + (1 - edge) * 0.01, (1 + edge) / 2, 1.0):
            if edge <= canary <= 1:
                found = _expectations("not_worse", line, base, size, (stable, canary))
                assert found.max() <= 1 + SLACK, (stable, canary)


@given(
    base=st.floats(1e-6, 0.95), n_s=st.integers(1, 10_000), n_c=st.integers(1, 10_000),
    slope=st.floats(0.5, 3), intercept=st.floats(0, 0.3),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=2), side=st.sampled_from(["w", "n"]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_whatever_the_traffic_the_weighted_expectation_is_at_most_one_under_the_null(
    base: float, n_s: int, n_c: int, slope: float, intercept: float, shares: list[float], side: str
) -> None:
    """The two numbers that the proof needs: n_s (A_s - 1) + n_c (A_c - 1) <= 0."""
    line, (stable, canary) = Line(slope, intercept), shares
    null = canary <= line.at(stable) if side == "w" else canary >= line.at(stable)
    if not null:
        return
    bets = _bets("worse" if side == "w" else "not_worse", line, base, n_c / n_s)
    for bet in bets:
        per_hit_s, per_miss_s, per_hit_c, per_miss_c = _factors(bet, line, n_s, n_c)
        a_s = stable * per_hit_s + (1 - stable) * per_miss_s
        a_c = canary * per_hit_c + (1 - canary) * per_miss_c
        assert min(per_hit_s, per_miss_s, per_hit_c, per_miss_c) > 0
        assert n_s * (a_s - 1) + n_c * (a_c - 1) <= 1e-6 * (n_s + n_c)


def _factors(bet: twobytwo.Bet, line: Line, n_s: int, n_c: int) -> list[float]:
    """Return the factor of one hit and of one miss, of stable and of the canary."""
    placed, hit, miss = twobytwo.place(bet, tilt=-line.slope * bet.tilt * n_c / n_s)
    return [1 + hit, 1 + miss, math.exp(placed.hit), math.exp(placed.miss)]


def test_a_block_is_the_product_of_its_factors() -> None:
    for line, (n_s, n_c) in itertools.product(LINES, SIZES):
        bets = twobytwo.worse_bets(line, base=0.02, ratio=n_c / n_s)
        logs = twobytwo.log_es(bets, line, stable=of_share(n_s, 1), canary=of_share(n_c, n_c - 1))
        for bet, log in zip(bets, logs, strict=True):
            hit_s, miss_s, hit_c, miss_c = map(math.log, _factors(bet, line, n_s, n_c))
            product = hit_s + (n_s - 1) * miss_s + (n_c - 1) * hit_c + miss_c
            assert log == pytest.approx(product)


def test_a_share_that_moves_within_a_slice_is_no_evidence_while_its_average_is_within() -> None:
    line, n = Line(1.25, 0.0005), 6
    bets = twobytwo.worse_bets(line, base=0.1, ratio=1.0)
    moving = [0.0, 0.0, 0.3, 0.3, 0.05, 0.05]
    average = sum(moving) / n
    for bet in bets:
        hit_s, miss_s, hit_c, miss_c = _factors(bet, line, n, n)
        expected = math.prod(
            (s * hit_s + (1 - s) * miss_s) * (c * hit_c + (1 - c) * miss_c)
            for s, c in zip([average] * n, [1.25 * m for m in moving], strict=True)
        )
        assert expected <= 1 + SLACK


def test_one_sided_traffic_is_no_evidence() -> None:
    bets = twobytwo.worse_bets(Line(1.0, 0.0), base=0.01, ratio=1.0)
    nothing = of_share(0, 0)
    full = of_share(100, 50)
    for stable, canary in ((nothing, full), (full, nothing), (nothing, nothing)):
        logs = twobytwo.log_es(bets, Line(1.0, 0.0), stable=stable, canary=canary)
        assert logs == (0.0,) * len(bets)


@pytest.mark.parametrize("limit", [1e-6, 0.01, 0.2, 0.7])
def test_against_a_fixed_limit_no_block_gains_on_average_under_its_null(limit: float) -> None:
    count = 6
    for share in SHARES:
        above, below = np.zeros(len(onesample.ODDS)), np.zeros(len(onesample.ODDS))
        for hits in range(count + 1):
            chance = _chance(hits, count, share)
            above += chance * np.exp(onesample.above(limit, of_share(count, hits)))
            below += chance * np.exp(onesample.below(limit, of_share(count, hits)))
        if share <= limit:
            assert above.max() <= 1 + SLACK
        if share >= limit:
            assert below.max() <= 1 + SLACK


def test_betting_gains_where_the_alternative_is_true() -> None:
    line = Line(1.25, 0.0005)
    bets = twobytwo.worse_bets(line, base=0.005, ratio=1 / 9)
    logs = twobytwo.log_es(bets, line, stable=of_share(2700, 13.5), canary=of_share(300, 6))
    assert max(logs) > 0.8  # an expected minute of 2 % against 0.5 % at 5 requests a second


@given(
    logs=st.lists(
        st.lists(st.floats(-5, 5), min_size=2, max_size=2), min_size=1, max_size=30
    ),
    staked=st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_wealth_is_never_made_by_moving_it(logs: list[list[float]], staked: float) -> None:
    """With e-values of one, wealth stays what it was; and it is never negative."""
    weights = (0.3, 0.7)
    still = moved = wealth.begin(weights, staked=staked)
    for index, pair in enumerate(logs):
        share = wealth.share_due(elapsed=10.0 * index, seconds=10)
        still = wealth.grow(still, (0.0, 0.0), weights=weights, share=share)
        still = wealth.staked(still, weights=weights)
        moved = wealth.grow(moved, pair, weights=weights, share=share)
        assert moved.cash >= 0
        assert min(moved.stakes) >= 0
    assert still.value == pytest.approx(1)


def test_cash_is_staked_by_time_and_not_by_how_it_is_cut() -> None:
    left = [1.0, 1.0]
    for seconds, index in ((600, 0), (10, 1)):
        for turn in range(3600 // seconds):
            left[index] *= 1 - wealth.share_due(elapsed=turn * seconds, seconds=seconds)
    assert left == pytest.approx([0.5, 0.5])


def test_enormous_evidence_stays_a_number() -> None:
    pot = wealth.begin((1.0,), staked=0.5)
    for _ in range(50):
        pot = wealth.grow(pot, (5000.0,), weights=(1.0,), share=0.1)
    assert pot.value <= wealth.MOST * 2
    assert wealth.grow(pot, (-1e9,), weights=(1.0,), share=0.0).value == pytest.approx(pot.cash)


def test_a_share_that_is_better_when_higher_is_judged_by_what_was_missed() -> None:
    allowance = Allowance(absolute=0.02, relative=0.1)
    metric = Metric(
        "accuracy", "Accuracy", MetricKind.RATE, SourceKind.FEEDBACK, better=Better.HIGHER
    )
    line = line_of(metric, allowance)
    for stable in (0.5, 0.9, 1.0):
        just_allowed = stable - (0.02 + 0.1 * stable)
        assert line.at(1 - stable) == pytest.approx(1 - just_allowed)
