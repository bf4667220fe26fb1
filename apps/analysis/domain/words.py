"""What the judge knows of a metric, in sentences for a person. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from apps.analysis.domain.values import Answer, Better, Metric, MetricKind, SourceKind

_TELLING = 1.05  # a dispersion above it is worth a sentence
_LEVEL = 0.1  # of the margin: a difference below it is none


@dataclass(frozen=True)
class Seen:
    """What a sentence is made of.

    Attributes:
        stable: Stable's value; None without observations, or when there is no stable side.
        canary: The canary's.
        by: How much worse the canary is, slice by slice; negative is better.
        margin: How much worse is within the margin.
        tolerance: How much worse is tolerated.
        dispersion: How much more than by chance two copies of one version differ; 1 is chance.
    """

    stable: float | None
    canary: float | None
    by: float
    margin: float
    tolerance: float
    dispersion: float


def finding(metric: Metric, answer: Answer, seen: Seen) -> str:
    """Return one to three sentences about one metric."""
    if seen.canary is None:
        return _no_data("the canary")
    if metric.source is SourceKind.DISAGREEMENT:
        return _disagreement(metric, answer, seen.canary) + _caution(seen)
    if seen.stable is None:
        return _no_data("stable")
    return _compared(metric, answer, seen, f"{value(metric, seen.canary)} against "
                     f"{value(metric, seen.stable)}") + _caution(seen)  # fmt: skip


def not_worse(metrics: Sequence[Metric]) -> str:
    """Return the sentence for a canary that may go on."""
    titles = [metric.title[:1].lower() + metric.title[1:] for metric in metrics]
    listed = f"{', '.join(titles[:-1])} and {titles[-1]}" if len(titles) > 1 else titles[0]
    return f"The canary is not worse than stable by more than you allow: {listed}."


def waiting(seconds: float | None) -> str:
    """Return how long the judge still needs; "" when nothing can be said."""
    return "" if seconds is None else f"At this traffic the judge can decide in {about(seconds)}."


def about(seconds: float) -> str:
    """Return a time as people say it ("about 9 minutes")."""
    if seconds < 90:
        return "about a minute"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    if seconds < 48 * 3600:
        return f"about {round(seconds / 3600)} hours"
    return f"about {round(seconds / 86400)} days"


def value(metric: Metric, number: float) -> str:
    """Return a value with its unit ("2.1 %")."""
    return f"{_plain(number * 100)} %" if _is_rate(metric) else _plain(number)


def amount(metric: Metric, number: float) -> str:
    """Return a difference with its unit ("0.7 points")."""
    return f"{_plain(number * 100)} points" if _is_rate(metric) else _plain(number)


def _plain(number: float) -> str:
    """Return a number with two digits that count."""
    size = abs(number)
    if size >= 100:
        return f"{number:,.0f}"
    if size >= 1 or size < 1e-12:
        return f"{number:.1f}"
    return f"{number:.{1 - math.floor(math.log10(size))}f}"


def _no_data(side: str) -> str:
    return (
        f"No data: nothing was counted on {side} yet. Until then this metric neither promotes "
        "nor aborts."
    )


def _compared(metric: Metric, answer: Answer, seen: Seen, both: str) -> str:
    match answer:
        case Answer.WORSE:
            return (
                f"The canary {_more(metric)} than stable: {both}. You tolerate a difference of "
                f"{amount(metric, seen.tolerance)}, and this is proven to be more."
            )
        case Answer.NOT_WORSE:
            return (
                f"The canary is not worse than stable by more than the "
                f"{amount(metric, seen.margin)} you allow: {both}."
            )
        case Answer.NOT_YET:
            return _undecided(metric, seen)


def _undecided(metric: Metric, seen: Seen) -> str:
    by, allow = amount(metric, abs(seen.by)), amount(metric, seen.margin)
    cannot = f"You allow {allow}, and the judge cannot yet rule out that it is more."
    if seen.by > seen.margin:
        return (
            f"The canary {_more(metric)} than stable so far, by about {by}. You allow {allow}, "
            "and the judge cannot yet tell this from chance."
        )
    if abs(seen.by) < _LEVEL * seen.margin:
        return f"The canary is about level with stable so far. {cannot}"
    if seen.by < 0:
        return f"The canary {_less(metric)} than stable so far, by about {by}. {cannot}"
    return f"The canary {_little_more(metric)} than stable, by about {by}. {cannot}"


def _disagreement(metric: Metric, answer: Answer, canary: float) -> str:
    said = f"The canary answers {value(metric, canary)} of mirrored requests otherwise than stable"
    fine = value(metric, metric.margin.absolute)
    match answer:
        case Answer.WORSE:
            limit = value(metric, metric.tolerance.absolute)
            return f"{said}, proven to be more than the {limit} you tolerate."
        case Answer.NOT_WORSE:
            return f"{said}, proven to be less than the {fine} you allow."
        case Answer.NOT_YET:
            return f"{said}. You allow {fine}, and the judge cannot yet rule out that it is more."


def _caution(seen: Seen) -> str:
    if seen.dispersion < _TELLING:
        return ""
    return (
        f" The judge is more careful here, because two copies of one version differed "
        f"{seen.dispersion:.1f} times as much as chance explains."
    )


def _more(metric: Metric) -> str:
    match metric.source:
        case SourceKind.ERRORS:
            return "fails more often"
        case SourceKind.REFUSED:
            return "refuses more requests"
        case SourceKind.SLOW:
            return "is slower"
    return f"is {_way(metric, worse=True)} in “{metric.title}”"


def _little_more(metric: Metric) -> str:
    match metric.source:
        case SourceKind.ERRORS:
            return "fails a little more often"
        case SourceKind.REFUSED:
            return "refuses a few more requests"
        case SourceKind.SLOW:
            return "is a little slower"
    return f"is a little {_way(metric, worse=True)} in “{metric.title}”"


def _less(metric: Metric) -> str:
    match metric.source:
        case SourceKind.ERRORS:
            return "fails less often"
        case SourceKind.REFUSED:
            return "refuses fewer requests"
        case SourceKind.SLOW:
            return "is faster"
    return f"is {_way(metric, worse=False)} in “{metric.title}”"


def _way(metric: Metric, *, worse: bool) -> str:
    return "higher" if worse == (metric.better is Better.LOWER) else "lower"


def _is_rate(metric: Metric) -> bool:
    return metric.kind is MetricKind.RATE
