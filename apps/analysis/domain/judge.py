"""The judge: is the canary worse than stable, not worse, or is it too early to say? Pure.

It may be asked as often as anybody likes. Each metric has two e-processes, one against "the canary
is no worse than tolerated" and one against "it is worse by more than the margin". An e-process
starts at 1 and, as long as its null is true, ever reaches 1/alpha with a probability of at most
alpha (Ville), so the moment of looking does not matter and what is once proven stays proven.

Worse: the mean of the metrics' e-values, which is an e-value however they depend on each other,
has reached 1/alpha; so all metrics together abort at most a share alpha of healthy canaries. One
metric alone gets there at (number of metrics)/alpha. Not worse: every required metric has reached
1/alpha by itself in the current step; since all must, the chance that a canary that is worse in
any of them passes is at most alpha (Berger's intersection-union test).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from apps.analysis.domain import confseq, rates, words
from apps.analysis.domain.confseq import MeanState
from apps.analysis.domain.lines import allowed, more, restored
from apps.analysis.domain.rates import RateState
from apps.analysis.domain.state import MetricState, RunState, state_from_json, state_to_json
from apps.analysis.domain.values import (
    Answer,
    Better,
    Finding,
    Judgement,
    Metric,
    MetricKind,
    Slice,
    SourceKind,
)

__all__ = [
    "MetricState",
    "Plan",
    "RunState",
    "advance",
    "begin",
    "judge",
    "new_step",
    "state_from_json",
    "state_to_json",
    "verdict",
]


@dataclass(frozen=True)
class Plan:
    """What a run judges by.

    Attributes:
        metrics: What is compared.
        alpha: How many healthy canaries may be aborted, as a share, over a whole rollout.
        dispersion: By metric, how much more than by chance two copies of one version differ
            (`calibration`); 1 where nothing is known.
    """

    metrics: tuple[Metric, ...]
    alpha: float = 0.05
    dispersion: Mapping[str, float] = field(default_factory=dict)

    @property
    def proven_at(self) -> float:
        """Return the e-value from which something is proven."""
        return 1 / self.alpha


def begin(plan: Plan) -> RunState:
    """Return the state before anything was seen."""
    return RunState({metric.name: MetricState(_begin(metric)) for metric in plan.metrics})


def advance(plan: Plan, state: RunState, slices: Mapping[str, Sequence[Slice]]) -> RunState:
    """Return the state after more slices, by metric's name.

    Slices are taken in the order of their time. One that does not begin after the last that was
    counted is left out, so that the same news may come twice.
    """
    metrics, most = dict(state.metrics), state.most_worse
    known = {metric.name: metric for metric in plan.metrics}
    news = sorted(
        ((piece.at, name, piece) for name in known for piece in slices.get(name, ())),
        key=lambda entry: (entry[0], entry[1]),
    )
    for index, (at, name, piece) in enumerate(news):
        metrics[name] = _advance(plan, known[name], metrics[name], piece)
        if index + 1 == len(news) or news[index + 1][0] != at:
            most = max(most, _combined(plan, metrics))
    return RunState(metrics, most)


def new_step(plan: Plan, state: RunState) -> RunState:
    """Return the state as a new step of the rollout begins; see `rates.new_step`."""
    return replace(
        state,
        metrics={
            metric.name: _new_step(metric, state.metrics[metric.name]) for metric in plan.metrics
        },
    )


def verdict(plan: Plan, state: RunState) -> Answer:
    """Return the answer alone."""
    if state.most_worse >= plan.proven_at:
        return Answer.WORSE
    required = [metric for metric in plan.metrics if metric.required]
    if required and all(_is_not_worse(plan, state.metrics[m.name]) for m in required):
        return Answer.NOT_WORSE
    return Answer.NOT_YET


def judge(plan: Plan, state: RunState) -> Judgement:
    """Return what is known, with everything a page shows of it."""
    answer = verdict(plan, state)
    leading = _leading(plan, state) if answer is Answer.WORSE else ""
    findings = tuple(
        _finding(plan, metric, state.metrics[metric.name], leads=metric.name == leading)
        for metric in plan.metrics
    )
    remaining = _remaining(plan, findings)
    return Judgement(
        answer=answer,
        findings=findings,
        combined_worse=_combined(plan, state.metrics),
        sentence=_sentence(plan, answer, findings, remaining),
        remaining_seconds=0.0 if answer is not Answer.NOT_YET else remaining,
    )


def _begin(metric: Metric) -> RateState | MeanState:
    return confseq.begin() if _by_slices(metric) else rates.begin(metric)


def _by_slices(metric: Metric) -> bool:
    return metric.kind is MetricKind.MEAN or metric.cluster


def _advance(plan: Plan, metric: Metric, state: MetricState, piece: Slice) -> MetricState:
    if state.last_at is not None and piece.at <= state.last_at:
        return state
    evidence: RateState | MeanState
    match state.evidence:
        case RateState():
            evidence = rates.advance(
                metric, state.evidence, piece, dispersion=_dispersion(plan, metric)
            )
        case MeanState():
            evidence = confseq.advance(metric, state.evidence, piece)
    worse, not_worse = _values(metric, evidence)
    return MetricState(
        evidence,
        piece.at,
        state.is_not_worse or not_worse >= plan.proven_at,
        max(state.most_worse, worse),
    )


def _new_step(metric: Metric, state: MetricState) -> MetricState:
    evidence: RateState | MeanState
    match state.evidence:
        case RateState():
            evidence = rates.new_step(metric, state.evidence)
        case MeanState():
            evidence = confseq.new_step(metric, state.evidence)
    return replace(state, evidence=evidence, is_not_worse=False)


def _dispersion(plan: Plan, metric: Metric) -> float:
    return max(plan.dispersion.get(metric.name, 1.0), 1.0)


def _values(metric: Metric, evidence: RateState | MeanState) -> tuple[float, float]:
    """Return the e-values of "worse" and of "not worse"."""
    match evidence:
        case RateState():
            return evidence.worse.value, evidence.not_worse.value
        case MeanState():
            return confseq.worse(metric, evidence), confseq.not_worse(metric, evidence)


def _leading(plan: Plan, state: RunState) -> str:
    """Return the metric with the strongest evidence of "worse"."""
    names = [metric.name for metric in plan.metrics]
    return max(names, key=lambda name: state.metrics[name].most_worse)


def _combined(plan: Plan, metrics: Mapping[str, MetricState]) -> float:
    if not plan.metrics:
        return 1.0
    values = [_values(metric, metrics[metric.name].evidence)[0] for metric in plan.metrics]
    return sum(values) / len(values)


def _is_not_worse(plan: Plan, state: MetricState) -> bool:
    """Return whether "not worse" was proven in this step, and nothing speaks against it since.

    Strong evidence of "worse" that came after the proof suspends it: that is only more careful.
    """
    if not state.is_not_worse:
        return False
    match state.evidence:
        case RateState():
            return state.evidence.worse.value < math.sqrt(plan.proven_at)
        case MeanState():
            return True


def _finding(plan: Plan, metric: Metric, state: MetricState, *, leads: bool) -> Finding:
    worse, not_worse = _values(metric, state.evidence)
    answer = _answer(plan, state, leads=leads)
    seen = _seen(plan, metric, state.evidence)
    low, high = _interval(plan, metric, state.evidence)
    return Finding(
        metric=metric.name,
        answer=answer,
        worse=worse,
        not_worse=not_worse,
        worse_at=_worse_at(plan),
        not_worse_at=plan.proven_at,
        stable=seen.stable,
        canary=seen.canary,
        stable_total=state.evidence.stable.count,
        canary_total=state.evidence.canary.count,
        allowed=_allowed(metric, seen.stable),
        low=low,
        high=high,
        remaining_seconds=_until(plan, metric, state, answer),
        sentence=words.finding(metric, answer, seen),
    )


def _worse_at(plan: Plan) -> float:
    """Return the e-value from which one metric alone proves "worse"."""
    return plan.proven_at * len(plan.metrics)


def _answer(plan: Plan, state: MetricState, *, leads: bool) -> Answer:
    """Return the answer for one metric; the one that `leads` a proof together is worse as well."""
    if leads or state.most_worse >= _worse_at(plan):
        return Answer.WORSE
    return Answer.NOT_WORSE if _is_not_worse(plan, state) else Answer.NOT_YET


def _seen(plan: Plan, metric: Metric, evidence: RateState | MeanState) -> words.Seen:
    stable = _value(metric, evidence.stable.mean)
    by = rates.middle(evidence) if isinstance(evidence, RateState) else confseq.middle(evidence)
    return words.Seen(
        stable=stable,
        canary=_value(metric, evidence.canary.mean),
        by=by,
        margin=more(metric.margin, stable or 0.0),
        tolerance=more(metric.tolerance, stable or 0.0),
        dispersion=_dispersion(plan, metric),
    )


def _value(metric: Metric, mean: float | None) -> float | None:
    return None if mean is None else restored(metric, mean)


def _allowed(metric: Metric, stable: float | None) -> float | None:
    if metric.source is SourceKind.DISAGREEMENT:
        return metric.margin.absolute
    return None if stable is None else allowed(metric, stable)


def _interval(
    plan: Plan, metric: Metric, evidence: RateState | MeanState
) -> tuple[float | None, float | None]:
    """Return the interval of canary minus stable in the metric's own sense."""
    match evidence:
        case RateState():
            span = rates.interval(evidence, alpha=plan.alpha)
        case MeanState():
            span = confseq.interval(evidence, alpha=plan.alpha)
    if span is None:
        return None, None
    return span if metric.better is Better.LOWER else (-span[1], -span[0])


def _until(plan: Plan, metric: Metric, state: MetricState, answer: Answer) -> float | None:
    """Return the seconds until this metric is decided; None when nobody can say."""
    if answer is not Answer.NOT_YET:
        return 0.0
    goals = (_worse_at(plan), plan.proven_at)
    match state.evidence:
        case RateState():
            seconds = rates.remaining_seconds(
                metric, state.evidence, goals=goals, dispersion=_dispersion(plan, metric)
            )
        case MeanState() if state.evidence.per_second > 0:
            slices = confseq.remaining_slices(metric, state.evidence, goals=goals)
            seconds = slices / state.evidence.per_second
        case _:
            return None
    return seconds if math.isfinite(seconds) else None


def _remaining(plan: Plan, findings: Sequence[Finding]) -> float | None:
    """Return the seconds until the slowest required metric is decided."""
    required = [f for m, f in zip(plan.metrics, findings, strict=True) if m.required]
    times = [finding.remaining_seconds for finding in required]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def _sentence(
    plan: Plan, answer: Answer, findings: Sequence[Finding], remaining: float | None
) -> str:
    pairs = list(zip(plan.metrics, findings, strict=True))
    match answer:
        case Answer.WORSE:
            return next(f.sentence for f in findings if f.answer is Answer.WORSE)
        case Answer.NOT_WORSE:
            return words.not_worse([metric for metric, _ in pairs if metric.required])
        case Answer.NOT_YET:
            open_ones = [f for m, f in pairs if m.required and f.answer is Answer.NOT_YET]
            if not open_ones:
                return "Nothing is compared that a step could wait for."
            slowest = max(open_ones, key=_wait)
            return f"{slowest.sentence} {words.waiting(remaining)}".strip()


def _wait(finding: Finding) -> float:
    return math.inf if finding.remaining_seconds is None else finding.remaining_seconds
