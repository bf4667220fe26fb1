"""The integrals against closed forms, and against a hundred thousand draws."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest

from apps.analysis.domain import posterior
from apps.analysis.domain.posterior import Belief

UNIT = NormalDist()


def exact_chance(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Return the chance that a share of belief Beta(b) is above one of Beta(a), for integers."""

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return sum(
        math.exp(
            log_beta(a[0] + i, b[1] + a[1]) - math.log(b[1] + i)
            - log_beta(1 + i, b[1]) - log_beta(a[0], a[1])
        )
        for i in range(b[0])
    )  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1, 1), (1, 1)), ((11, 91), (15, 87)), ((1, 1), (500, 9500)), ((2, 1_000_000), (4, 10)),
        ((5000, 5000), (5100, 4900)), ((1, 1_000_000), (2, 1_000_000)), ((1, 3), (3, 1)),
    ],
)  # fmt: skip
def test_the_chance_of_the_higher_share_is_that_of_the_closed_form(
    a: tuple[int, int], b: tuple[int, int]
) -> None:
    found = posterior.chances_to_be_highest([posterior.beta(*a), posterior.beta(*b)])
    assert found[1] == pytest.approx(exact_chance(a, b), abs=1e-8)
    assert sum(found) == pytest.approx(1)


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 1), (0, 1)), ((0, 1), (1, 2)), ((10, 1e-6), (10.5, 3)), ((-1e6, 1), (-1e6 + 2, 1e-3))],
)
def test_bell_curves_give_the_closed_forms(
    first: tuple[float, float], second: tuple[float, float]
) -> None:
    beliefs = [posterior.normal(*first), posterior.normal(*second)]
    both = math.hypot(first[1], second[1])
    z = (second[0] - first[0]) / both
    chances = posterior.chances_to_be_highest(beliefs)
    assert chances[1] == pytest.approx(UNIT.cdf(z), abs=1e-8)
    lost = both * (UNIT.pdf(z) + z * UNIT.cdf(z))  # E[max(0, second - first)]
    assert posterior.expected_shortfall(beliefs, 0) == pytest.approx(lost, rel=1e-6)


@pytest.mark.parametrize(
    "shares",
    [
        [(3, 9), (5, 9), (4, 4)],
        [(1, 1), (50, 950), (70, 930), (2, 30)],
        [(30_000, 70_000), (30_300, 69_700), (3, 6)],
    ],
)
def test_many_shares_agree_with_draws(shares: Sequence[tuple[int, int]]) -> None:
    drawn = np.stack(
        [np.random.default_rng(7 + i).beta(*s, size=100_000) for i, s in enumerate(shares)]
    )
    beliefs = [posterior.beta(*s) for s in shares]
    won = np.bincount(drawn.argmax(axis=0), minlength=len(shares)) / drawn.shape[1]
    assert posterior.chances_to_be_highest(beliefs) == pytest.approx(list(won), abs=0.006)
    lost = (drawn.max(axis=0) - drawn[0]).mean()
    assert posterior.expected_shortfall(beliefs, 0) == pytest.approx(lost, rel=0.02)


def test_equal_beliefs_have_equal_chances() -> None:
    beliefs: list[Belief] = [posterior.beta(3, 9)] * 5
    assert posterior.chances_to_be_highest(beliefs) == pytest.approx([0.2] * 5)
