"""An A/B experiment: is the candidate better, by an amount that was named before? Pure.

The verdict reads an interval of the difference that holds at every moment at once (see `judge`),
so it may be looked at all day, and it may end as soon as it is clear. Planning takes the same
interval into account: looking all day costs about twice the observations of a test that is read
once, at its end.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from statistics import NormalDist

from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.errors import Invalid
from controlplane.kernel.figures import THIN, rounded, spoken

POWER = 0.8
SMALLEST, LARGEST = 1e-9, 1e9  # between which a best tuning is looked for


@dataclass(frozen=True)
class Experiment:
    """What is to be found out; written down before the first request.

    Attributes:
        hypothesis: In the words of whoever believes it.
        metric: What it is measured by, for a person ("Clicked").
        better: Which way the metric improves.
        least_effect: The improvement worth having, in the metric's unit (0.01 is one point of a
            share); 0 or more.
        horizon: How long it may run.
        alpha: The chance, at most, to call a candidate better that is not.
        kind: Share or mean; how differences are worded.
    """

    hypothesis: str
    metric: str
    better: Better
    least_effect: float
    horizon: timedelta
    alpha: float = 0.05
    kind: MetricKind = MetricKind.RATE


class Outcome(StrEnum):
    """What came of an experiment."""

    RUNNING = "running"
    BETTER = "better"
    NOT_BETTER = "not_better"  # not by what is worth having
    UNDECIDED = "undecided_at_horizon"


@dataclass(frozen=True)
class Verdict:
    """What came of an experiment, and why, in one sentence."""

    outcome: Outcome
    sentence: str


def check(experiment: Experiment) -> None:
    """Refuse an experiment that could not be judged.

    Raises:
        Invalid: With the field at fault.
    """
    if not experiment.hypothesis.strip():
        raise _wrong("hypothesis", "An experiment needs a hypothesis.", "Say what you expect.")
    if not (math.isfinite(experiment.least_effect) and experiment.least_effect >= 0):
        raise _wrong(
            "least_effect", f"{experiment.least_effect} is no least effect.", "Give 0 or more."
        )
    if experiment.kind is MetricKind.RATE and experiment.least_effect >= 1:
        raise _wrong(
            "least_effect", f"No share improves by {experiment.least_effect:g}.",
            "Give a share: 0.01 is one percentage point.",
        )  # fmt: skip
    if experiment.horizon <= timedelta(0):
        raise _wrong("horizon", "An experiment needs some time.", "Give a horizon.")
    if not 0 < experiment.alpha <= 0.5:
        raise _wrong("alpha", f"{experiment.alpha} is no error rate.", "Give 0.05, for example.")


def verdict(
    experiment: Experiment, *, low: float | None, high: float | None, elapsed: timedelta
) -> Verdict:
    """Return what the evidence says by now.

    - "not better" once an improvement of `least_effect` is excluded, even if a smaller one is
      proven: what is not worth having is not shipped for;
    - "better" once the whole interval is an improvement;
    - "undecided" at the horizon when neither is so.

    Args:
        experiment: See `Experiment`.
        low: Lower end of the anytime-valid interval of candidate minus stable, as
            `Finding.low`; None when nothing is known.
        high: Upper end.
        elapsed: How long it has run.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return _still(experiment, elapsed, f"{experiment.metric}: nothing is known yet.")
    gain_low, gain_high = (-high, -low) if experiment.better is Better.LOWER else (low, high)
    span = _span(experiment, gain_low, gain_high)
    if gain_high < experiment.least_effect:
        return Verdict(Outcome.NOT_BETTER, _too_little(experiment, gain_low, span))
    if gain_low > 0:
        return Verdict(Outcome.BETTER, f"{experiment.metric}: the candidate is better, by {span}.")
    return _still(experiment, elapsed, f"{experiment.metric}: the gain is {span}.")


# --- planning ----------------------------------------------------------------------------------


def requests_needed(
    baseline_rate: float, *, least_effect: float, alpha: float = 0.05, power: float = POWER
) -> int:
    """Return how many requests each side needs, to see an effect of that size on a share.

    The usual formula for two shares, in which the normal quantile is replaced by the half-width
    of a confidence sequence (normal mixture; Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform,
    nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49, 2021) that is
    tuned for this number of requests. A sequence that is tuned for another number needs more; an
    effect that is larger than the least needs less.

    Args:
        baseline_rate: Stable's share, in (0, 1).
        least_effect: The difference to see, as a share (0.01 is one point).
        alpha: The chance, at most, to see one where there is none.
        power: The chance to have seen it by then.

    Raises:
        Invalid: A number is out of range.
    """
    if not 0 < baseline_rate < 1:
        raise _wrong("baseline_rate", f"{baseline_rate} is no share.", "Give one in (0, 1).")
    if not 0 < least_effect < 1:
        raise _wrong("least_effect", f"{least_effect} is no effect.", "Give one in (0, 1).")
    if not (0 < alpha <= 0.5 and 0.5 <= power < 1):
        raise _wrong("alpha", "The error rates are out of range.", "Try alpha 0.05, power 0.8.")
    others = [r for r in (baseline_rate - least_effect, baseline_rate + least_effect) if 0 < r < 1]
    if not others:
        raise _wrong(
            "least_effect", f"No share is {least_effect:g} away from {baseline_rate:g}.",
            "Name a smaller effect.",
        )  # fmt: skip
    # Up or down is not known here: the one that varies more needs more.
    spread = baseline_rate * (1 - baseline_rate) + max(r * (1 - r) for r in others)
    reach = half_width(alpha) + NormalDist().inv_cdf(power)
    return math.ceil(spread * (reach / least_effect) ** 2)


def half_width(alpha: float) -> float:
    """Return the half-width of a confidence sequence where it is narrowest, in standard errors.

    A sequence whose mixture has variance v, in units of one over the observations, is
    sqrt((v + 1) / v * ln((v + 1) / alpha**2)) standard errors wide to each side. For alpha 0.05
    that is 3.04 at best, where a test that is read once has 1.96.
    """

    def squared(log_v: float) -> float:
        v = math.exp(log_v)
        return (v + 1) / v * math.log((v + 1) / alpha**2)

    low, high = math.log(SMALLEST), math.log(LARGEST)
    for _ in range(200):  # by thirds: it falls, then rises
        third = (high - low) / 3
        if squared(low + third) < squared(high - third):
            high -= third
        else:
            low += third
    return math.sqrt(squared(low))


def time_needed(
    requests: int, *, per_second: float, smaller_share: float = 0.5
) -> timedelta | None:
    """Return how long it takes until both sides have so many requests.

    Args:
        requests: For each side.
        per_second: Of the whole endpoint, those whose outcome is told.
        smaller_share: Of the side that gets less, in (0, 0.5].

    Returns:
        None without traffic, or when it would take more than a hundred years.
    """
    rate = per_second * smaller_share
    if rate <= 0 or requests / rate > 100 * 365 * 86400:
        return None
    return timedelta(seconds=requests / rate)


def forecast(requests: int, *, per_second: float, smaller_share: float = 0.5) -> str:
    """Return how long it takes, for a person who is about to begin."""
    needed = time_needed(requests, per_second=per_second, smaller_share=smaller_share)
    each = f"It needs {requests:,} requests on each side"
    if needed is None:
        return f"{each}, and there is too little traffic to say when that is."
    return f"{each}: at {rounded(per_second)} req/s that takes about {_about(needed)}."


# --- words -------------------------------------------------------------------------------------


def _still(experiment: Experiment, elapsed: timedelta, known: str) -> Verdict:
    if elapsed >= experiment.horizon:
        return Verdict(Outcome.UNDECIDED, f"The time is over and it is not decided. {known}")
    left = _about(experiment.horizon - elapsed)
    return Verdict(Outcome.RUNNING, f"{known} It runs for {left} more at most.")


def _too_little(experiment: Experiment, gain_low: float, span: str) -> str:
    if gain_low > 0:
        return (
            f"{experiment.metric}: the candidate is better, but only by {span}; "
            f"{_amount(experiment, experiment.least_effect)} would be worth having."
        )
    return (
        f"{experiment.metric}: the candidate is not better by "
        f"{_amount(experiment, experiment.least_effect)}; the gain is {span}."
    )


def _span(experiment: Experiment, low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "unknown"
    if math.isinf(low):
        return f"at most {_amount(experiment, high)}"
    if math.isinf(high):
        return f"at least {_amount(experiment, low)}"
    return f"{_number(experiment, low)} to {_amount(experiment, high)}"


def _amount(experiment: Experiment, value: float) -> str:
    number = _number(experiment, value)
    if experiment.kind is not MetricKind.RATE:
        return number
    return f"{number}{THIN}{'point' if number == '1' else 'points'}"


def _number(experiment: Experiment, value: float) -> str:
    return rounded(100 * value if experiment.kind is MetricKind.RATE else value)


def _about(span: timedelta) -> str:
    """Return a time in one unit: an estimate has no more digits than that."""
    days = span / timedelta(days=1)
    if days >= 2:
        return f"{days:.0f} days"
    hours = span / timedelta(hours=1)
    if hours >= 2:
        return f"{hours:.0f} hours"
    minutes = span / timedelta(minutes=1)
    return f"{minutes:.0f} minutes" if minutes >= 2 else spoken(span.total_seconds())


def _wrong(field: str, sentence: str, remedy: str) -> Invalid:
    return Invalid(sentence, remedy=remedy, field=field, code="experiment.malformed")
