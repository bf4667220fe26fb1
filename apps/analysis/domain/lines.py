"""What a metric allows, as a straight line: canary = slope * stable + intercept. Pure.

A rate that is better when higher is judged by its failures, 1 - x, so that "worse" always means
"above the line". For a mean the same line is taken with both values negated.
"""

from dataclasses import dataclass

from apps.analysis.domain.values import Allowance, Better, Metric, MetricKind
from controlplane.kernel.quantities import Tally


@dataclass(frozen=True)
class Line:
    """The canary's value that is just allowed, for each value of stable."""

    slope: float
    intercept: float

    def at(self, stable: float) -> float:
        """Return the canary's value on the line."""
        return self.slope * stable + self.intercept


def line_of(metric: Metric, allowance: Allowance) -> Line:
    """Return the line of one allowance, in the orientation of `oriented`.

    Better higher: the canary is worse below s - (absolute + relative * s). With f = 1 - x that is
    above (1 - relative) * f_s + relative + absolute; with -x, above (1 - relative) * (-s) +
    absolute.
    """
    if metric.better is Better.LOWER:
        return Line(1 + allowance.relative, allowance.absolute)
    shift = allowance.relative if metric.kind is MetricKind.RATE else 0.0
    return Line(1 - allowance.relative, allowance.absolute + shift)


def oriented(metric: Metric, tally: Tally) -> Tally:
    """Return the observations so that larger is worse."""
    if metric.better is Better.LOWER:
        return tally
    if metric.kind is MetricKind.RATE:
        missed = tally.count - tally.total
        return Tally(tally.count, missed, missed)
    return Tally(tally.count, -tally.total, tally.squares)


def restored(metric: Metric, value: float) -> float:
    """Return a mean of `oriented` observations in the metric's own sense again."""
    if metric.better is Better.LOWER:
        return value
    return 1 - value if metric.kind is MetricKind.RATE else -value


def more(allowance: Allowance, stable: float) -> float:
    """Return how much worse than stable's value `allowance` lets the canary be."""
    return allowance.absolute + allowance.relative * stable


def allowed(metric: Metric, stable: float) -> float:
    """Return the canary's value up to which it is within the margin, in the metric's own sense."""
    by = more(metric.margin, stable)
    return stable + by if metric.better is Better.LOWER else stable - by
