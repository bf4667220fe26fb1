"""Verdicts of A/B experiments, and how long they will take."""

import math
from dataclasses import replace
from datetime import timedelta
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from apps.analysis.domain import experiment as domain
from apps.analysis.domain.experiment import Experiment, Outcome
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.errors import Invalid

WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
CLICKS = Experiment(
    hypothesis="The new ranking is clicked more.", metric="Clicked", better=Better.HIGHER,
    least_effect=0.01, horizon=WEEK,
)  # fmt: skip
RUNNING, BETTER = Outcome.RUNNING, Outcome.BETTER
NOT_BETTER, UNDECIDED = Outcome.NOT_BETTER, Outcome.UNDECIDED

CASES = [
    (-0.02, 0.03, RUNNING, UNDECIDED),
    (0.0, 0.03, RUNNING, UNDECIDED),
    (0.001, 0.03, BETTER, BETTER),
    (0.02, 0.03, BETTER, BETTER),
    (0.001, 0.009, NOT_BETTER, NOT_BETTER),  # better, but not worth having
    (-0.02, 0.009, NOT_BETTER, NOT_BETTER),
    (-0.02, 0.01, RUNNING, UNDECIDED),  # the least effect itself is not excluded
    (-0.03, -0.02, NOT_BETTER, NOT_BETTER),
    (None, None, RUNNING, UNDECIDED),
    (0.02, None, RUNNING, UNDECIDED),
    (math.nan, 0.03, RUNNING, UNDECIDED),
    (-math.inf, math.inf, RUNNING, UNDECIDED),
    (0.02, math.inf, BETTER, BETTER),
    (-math.inf, 0.0, NOT_BETTER, NOT_BETTER),
]


@pytest.mark.parametrize(("low", "high", "early", "at_the_end"), CASES)
def test_the_verdict_follows_from_the_interval_and_the_horizon(
    low: float | None, high: float | None, early: Outcome, at_the_end: Outcome
) -> None:
    assert domain.verdict(CLICKS, low=low, high=high, elapsed=HOUR).outcome is early
    assert domain.verdict(CLICKS, low=low, high=high, elapsed=WEEK).outcome is at_the_end


@pytest.mark.parametrize(("low", "high", "early", "at_the_end"), CASES)
def test_where_lower_is_better_the_mirrored_interval_says_the_same(
    low: float | None, high: float | None, early: Outcome, at_the_end: Outcome
) -> None:
    fewer = replace(CLICKS, better=Better.LOWER)
    mirrored = {"low": None if high is None else -high, "high": None if low is None else -low}
    assert domain.verdict(fewer, **mirrored, elapsed=HOUR).outcome is early
    assert domain.verdict(fewer, **mirrored, elapsed=WEEK).outcome is at_the_end


def said(low: float | None, high: float | None, *, elapsed: timedelta = HOUR, **more: Any) -> str:
    asked = replace(CLICKS, **more)
    return domain.verdict(asked, low=low, high=high, elapsed=elapsed).sentence.replace(
        "\u202f", " "
    )


def test_each_verdict_is_a_sentence_with_its_numbers() -> None:
    assert said(0.008, 0.021) == "Clicked: the candidate is better, by 0.8 to 2.1 points."
    assert said(0.001, 0.009) == (
        "Clicked: the candidate is better, but only by 0.1 to 0.9 points; "
        "1 point would be worth having."
    )
    assert said(-0.02, 0.009) == (
        "Clicked: the candidate is not better by 1 point; the gain is -2 to 0.9 points."
    )
    assert said(-0.02, 0.03) == (
        "Clicked: the gain is -2 to 3 points. It runs for 7 days more at most."
    )
    assert said(None, None, elapsed=WEEK) == (
        "The time is over and it is not decided. Clicked: nothing is known yet."
    )
    assert said(2.5, 7.25, kind=MetricKind.MEAN, metric="Revenue") == (
        "Revenue: the candidate is better, by 2.5 to 7.25."
    )
    assert said(-0.03, -0.02, better=Better.LOWER).endswith("better, by 2 to 3 points.")
    assert said(0.02, math.inf).endswith("better, by at least 2 points.")


@pytest.mark.parametrize(
    "wrong",
    [
        {"hypothesis": " "}, {"least_effect": -0.1}, {"least_effect": math.nan},
        {"least_effect": 1.0}, {"horizon": timedelta(0)}, {"alpha": 0.0}, {"alpha": 0.6},
    ],
)  # fmt: skip
def test_an_experiment_that_cannot_be_judged_is_refused(wrong: dict[str, Any]) -> None:
    domain.check(CLICKS)
    with pytest.raises(Invalid) as refused:
        domain.check(replace(CLICKS, **wrong))
    assert refused.value.field == next(iter(wrong))


# --- planning ----------------------------------------------------------------------------------


def test_looking_all_day_costs_about_twice_a_test_that_is_read_once() -> None:
    z = NormalDist().inv_cdf
    once = (0.05 * 0.95 + 0.06 * 0.94) * ((z(0.975) + z(0.8)) / 0.01) ** 2
    assert 1.8 < domain.requests_needed(0.05, least_effect=0.01) / once < 2.0


def test_it_needs_more_for_less_and_for_more_certainty() -> None:
    needed = domain.requests_needed(0.05, least_effect=0.01)
    assert domain.requests_needed(0.05, least_effect=0.005) > 3.5 * needed
    assert domain.requests_needed(0.05, least_effect=0.01, alpha=0.01) > needed
    assert domain.requests_needed(0.05, least_effect=0.01, power=0.95) > needed
    assert domain.requests_needed(0.5, least_effect=0.01) > needed


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.01])
def test_the_half_width_is_the_least_of_a_fine_search(alpha: float) -> None:
    tried = [
        math.sqrt((v + 1) / v * math.log((v + 1) / alpha**2)) for v in np.geomspace(0.1, 1e4, 4000)
    ]
    assert domain.half_width(alpha) == pytest.approx(min(tried), rel=1e-5)


def simulate(canary: float, *, runs: int, needed: int) -> float:
    """Return how often a confidence sequence, looked at fifty times, ends up above nothing."""
    random, looks = np.random.default_rng(5), 50
    found = 0
    best = min(np.geomspace(0.1, 1e3, 500), key=lambda v: (v + 1) / v * math.log((v + 1) / 0.0025))
    for _ in range(runs):
        per_look = np.full(looks, needed // looks)
        stable = random.binomial(per_look, 0.05).cumsum() / per_look.cumsum()
        shown = random.binomial(per_look, canary).cumsum() / per_look.cumsum()
        count = per_look.cumsum()
        variance = stable * (1 - stable) + shown * (1 - shown)
        v = count / needed * best
        width = np.sqrt(variance / count * (v + 1) / v * np.log((v + 1) / 0.0025))
        found += bool(((shown - stable - width) > 0).any())
    return found / runs


def test_with_so_many_requests_the_effect_is_found_and_nothing_is_found_in_nothing() -> None:
    needed = domain.requests_needed(0.05, least_effect=0.01)
    assert simulate(0.06, runs=500, needed=needed) >= 0.78
    assert simulate(0.05, runs=500, needed=needed) <= 0.03


def test_the_preview_says_how_long_it_takes() -> None:
    assert domain.forecast(1_555_200, per_second=12) == (
        "It needs 1,555,200 requests on each side: at 12 req/s that takes about 3 days."
    )
    assert "about 43 minutes" in domain.forecast(15_616, per_second=12)
    assert "about 9 hours" in domain.forecast(15_616, per_second=5, smaller_share=0.1)
    assert "too little traffic" in domain.forecast(15_616, per_second=0)
    assert domain.time_needed(10**9, per_second=1e-3) is None


@pytest.mark.parametrize(
    ("baseline", "effect", "alpha", "power"),
    [(0, 0.1, 0.05, 0.8), (1, 0.1, 0.05, 0.8), (0.5, 0, 0.05, 0.8), (0.5, 0.9, 0.05, 0.8),
     (0.5, 0.1, 0, 0.8), (0.5, 0.1, 0.05, 1), (math.nan, 0.1, 0.05, 0.8)],
)  # fmt: skip
def test_a_plan_without_sense_is_refused(
    baseline: float, effect: float, alpha: float, power: float
) -> None:
    with pytest.raises(Invalid):
        domain.requests_needed(baseline, least_effect=effect, alpha=alpha, power=power)
