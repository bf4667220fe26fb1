"""What is believed of several means at once, by exact numeric integration. Pure.

Each belief is a density on the line. The line is cut into panels where any of them bends; on each
panel a Gauss-Legendre rule integrates the densities (giving the chances that a mean lies below a
point) and then the products of densities and chances. Within a panel everything is smooth, so the
answers are good to about nine digits whether the beliefs are wide, narrow, or both; and they are
the same every time, because nothing is drawn.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul

NODES = 8
# Where a belief bends, in its own deviations from its mean; a Beta that leans on its end falls off
# like an exponential, hence the far ones.
BENDS = (0.0, 1.0, 2.0, 3.0, 4.5, 6.5, 10.0, 20.0, 40.0)


@dataclass(frozen=True)
class Belief:
    """What is believed of one mean.

    Attributes:
        mean: Its expectation.
        deviation: Its standard deviation; more than 0.
        low: Below it nothing is believed.
        high: Nor above it.
        log_density: Up to a constant, inside (low, high).
    """

    mean: float
    deviation: float
    low: float
    high: float
    log_density: Callable[[float], float]


def beta(hits: float, misses: float) -> Belief:
    """Return what is believed of a share after `hits` and `misses`, both more than 0."""
    total = hits + misses
    constant = math.lgamma(total) - math.lgamma(hits) - math.lgamma(misses)

    def log_density(x: float) -> float:
        return constant + (hits - 1) * math.log(x) + (misses - 1) * math.log1p(-x)

    deviation = math.sqrt(hits * misses / (total + 1)) / total
    return Belief(hits / total, deviation, 0.0, 1.0, log_density)


def normal(mean: float, deviation: float) -> Belief:
    """Return a bell curve."""
    constant = -math.log(deviation * math.sqrt(2 * math.pi))

    def log_density(x: float) -> float:
        return constant - ((x - mean) / deviation) ** 2 / 2

    return Belief(mean, deviation, -math.inf, math.inf, log_density)


def chances_to_be_highest(beliefs: Sequence[Belief]) -> list[float]:
    """Return for each mean the chance that it is the highest; together 1."""
    chances = [0.0] * len(beliefs)
    for node in _nodes(beliefs):
        for index, density in enumerate(node.densities):
            others = math.prod(node.below[:index]) * math.prod(node.below[index + 1 :])
            chances[index] += node.width * density * others
    whole = sum(chances)
    return [chance / whole for chance in chances]


def expected_shortfall(beliefs: Sequence[Belief], chosen: int) -> float:
    """Return by how much the highest mean is expected to lie above that of `chosen`.

    That is the expectation of max(0, highest other mean - chosen mean): the integral of "chosen
    lies below x, and some other does not".
    """
    lost = 0.0
    for node in _nodes(beliefs):
        others = math.prod(node.below[:chosen]) * math.prod(node.below[chosen + 1 :])
        lost += node.width * node.below[chosen] * (1 - others)
    return max(0.0, lost)


@dataclass(frozen=True)
class _Node:
    """One point of the line.

    Attributes:
        width: How much of the line it stands for.
        densities: Of each belief.
        below: The chance of each mean to lie below.
    """

    width: float
    densities: Sequence[float]
    below: Sequence[float]


def _nodes(beliefs: Sequence[Belief]) -> Iterator[_Node]:
    reached = [0.0] * len(beliefs)
    for begin, end in pairwise(_bends(beliefs)):
        half, middle = (end - begin) / 2, (end + begin) / 2
        densities = [[_density(belief, middle + half * x) for x in POINTS] for belief in beliefs]
        below = [
            [min(1.0, was + half * _dot(row, column)) for row in UP_TO]
            for was, column in zip(reached, densities, strict=True)
        ]
        for index, weight in enumerate(WEIGHTS):
            yield _Node(
                half * weight, [d[index] for d in densities], [max(0.0, b[index]) for b in below]
            )
        reached = [
            was + half * _dot(WEIGHTS, column)
            for was, column in zip(reached, densities, strict=True)
        ]


def _bends(beliefs: Sequence[Belief]) -> list[float]:
    points = {
        min(belief.high, max(belief.low, belief.mean + sign * many * belief.deviation))
        for belief in beliefs
        for many in BENDS
        for sign in (-1, 1)
    }
    return sorted(points)


def _density(belief: Belief, x: float) -> float:
    return math.exp(belief.log_density(x)) if belief.low < x < belief.high else 0.0


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    total: float = sum(map(mul, left, right))
    return total


def _legendre(x: float, most: int) -> list[float]:
    """Return the Legendre polynomials of degree 0 to `most` at x."""
    values = [1.0, x]
    for n in range(1, most):
        values.append(((2 * n + 1) * x * values[n] - n * values[n - 1]) / (n + 1))
    return values


def _rule(size: int) -> tuple[list[float], list[float]]:
    """Return the points and weights of the Gauss-Legendre rule on (-1, 1), by Newton's method."""
    points, weights = [], []
    for index in range(size):
        x = -math.cos(math.pi * (index + 0.75) / (size + 0.5))
        for _ in range(50):
            values = _legendre(x, size)
            slope = size * (x * values[size] - values[size - 1]) / (x * x - 1)
            x -= values[size] / slope
        points.append(x)
        weights.append(2 / ((1 - x * x) * slope * slope))
    return points, weights


def _up_to(points: Sequence[float], weights: Sequence[float]) -> list[list[float]]:
    """Return the matrix that takes values at the points to integrals from -1 to each point.

    Values at Gauss points are a polynomial, which is a sum of Legendre polynomials, and those
    have known integrals: (P[k+1] - P[k-1]) / (2k + 1).
    """
    size = len(points)
    at = [_legendre(x, size) for x in points]
    integrals = [
        [x + 1, *((row[k + 1] - row[k - 1]) / (2 * k + 1) for k in range(1, size))]
        for x, row in zip(points, at, strict=True)
    ]
    return [
        [
            weights[j] * sum((2 * k + 1) / 2 * at[j][k] * integrals[i][k] for k in range(size))
            for j in range(size)
        ]
        for i in range(size)
    ]


POINTS, WEIGHTS = _rule(NODES)
UP_TO = _up_to(POINTS, WEIGHTS)
