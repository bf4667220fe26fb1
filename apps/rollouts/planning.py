"""What a rollout's row plans: its steps, what it asks of the endpoint, what is judged."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from apps.analysis.domain import limits, spec
from apps.analysis.domain.values import Allowance, Metric, MetricKind, SourceKind
from apps.endpoints.domain.values import Trial
from apps.rollouts.domain import document
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Allocation, Step, compile_steps, trial
from apps.rollouts.domain.strategy import Strategy, StrategyKind
from apps.rollouts.models import Rollout
from apps.slos import selectors as slos
from controlplane.kernel.errors import Invalid


@dataclass(frozen=True)
class Planned:
    """A strategy, and the steps that it comes to for one rollout."""

    strategy: Strategy
    steps: tuple[Step, ...]


def of(row: Rollout) -> Planned:
    """Return what the rollout does."""
    strategy = document.parse(row.strategy)
    return Planned(strategy, compile_steps(strategy, has_stable=row.stable_id is not None))


def is_legible(row: Rollout) -> bool:
    """Return whether the row's strategy can be read."""
    try:
        of(row)
    except Invalid:
        return False
    return True


def subject(row: Rollout) -> str:
    """Return what the rollout's analysis is called after."""
    return f"rollout/{row.public_id}"


def is_judged(row: Rollout) -> bool:
    """Return whether an analysis goes along with the rollout."""
    return row.stable_id is not None and of(row).strategy.judged


def wanted(
    row: Rollout,
    *,
    step: int | None = None,
    state: RolloutState | None = None,
    allocation: Allocation | None = None,
) -> Trial:
    """Return what the endpoint should be asked to do.

    Args:
        row: The rollout.
        step: A step's index; None for the row's own.
        state: None for the row's own.
        allocation: A bandit's split; None for the one in force.
    """
    plan = of(row)
    index, at = row.step if step is None else step, state or RolloutState(row.state)
    split = allocation or allocation_of(row)
    asked = trial(
        plan.strategy, plan.steps, index, candidate=row.candidate.number, allocation=split
    )
    if row.rehearsal:
        # The fault is at the preview address, where no caller asks.
        asked = replace(asked, preview=True, faulty="fault_at" in row.drill)
    if at is RolloutState.PENDING:
        return replace(_nothing(asked), waits=True)
    if at is RolloutState.PAUSED and index == 0 and row.step_seen_at is None:
        # Paused before it had anything: it gets nothing meanwhile.
        return _nothing(asked)
    return asked


def _nothing(asked: Trial) -> Trial:
    """Return a trial that gives the candidate no request at all."""
    return replace(
        asked, weight=0, mirror=0, preview=False, segments=(), settle=False, faulty=False
    )


def allocation_of(row: Rollout) -> Allocation | None:
    """Return how a bandit splits the requests now; None before it has said so."""
    if not row.allocation:
        return None
    return Allocation(row.allocation["weight"], row.allocation["segments"])


def analysis_plan(row: Rollout) -> dict[str, Any]:
    """Return what the judge is to compare.

    What the strategy names, or else what the model's objective suggests: errors, and slowness
    where a latency is promised. A shadow's answers are compared as well; the metric of an
    experiment or of a bandit is followed, and never waited for.
    """
    strategy = of(row).strategy
    objective = slos.objective(row.endpoint.model_id, row.endpoint.environment_id)
    metrics = strategy.metrics or spec.defaults(
        latency_ms=objective.latency_ms if objective else None,
        availability=objective.availability if objective else None,
    )
    return {
        "metrics": spec.as_document(_with_own(strategy, metrics)),
        "alpha": strategy.alpha,
        "limits": {
            "page_share": limits.of_availability(
                objective.availability if objective else None
            ).page_share,
            "least_errors": strategy.limits.errors,
            "restarts": strategy.limits.restarts,
        },
        # What was broken on purpose says nothing of how the endpoint usually is.
        **({"teaches": False} if row.rehearsal else {}),
    }


def had_requests(row: Rollout) -> bool:
    """Return whether the candidate was given some of the callers' requests, as far as was seen."""
    steps = of(row).steps
    if row.step >= len(steps) or row.candidate.observed_weight:
        return True  # it was to answer everything, or answers some now
    seen = steps[: row.step + 1] if row.step_seen_at is not None else steps[: row.step]
    return any(step.weight for step in seen)


def minutes(length: timedelta) -> str:
    """Return a length of time as somebody would say it: "45 s", "10 min", "2 h"."""
    seconds = int(length.total_seconds())
    if seconds < 120:
        return f"{seconds} s" if seconds else ""
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:g} h"


def _with_own(strategy: Strategy, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    named = {metric.name for metric in metrics}
    own: list[Metric] = []
    compares_answers = any(metric.source is SourceKind.DISAGREEMENT for metric in metrics)
    if strategy.kind is StrategyKind.SHADOW and not compares_answers:
        own.append(
            Metric(
                "disagreement", "Answers otherwise than stable", MetricKind.RATE,
                SourceKind.DISAGREEMENT, tolerance=Allowance(0.02), margin=Allowance(0.02),
            )
        )  # fmt: skip
    trying = strategy.trying
    # Where there are segments only the bandit follows it: over all at once says something else.
    if trying is not None and not trying.values and trying.metric.name not in named:
        own.append(replace(trying.metric, required=False))
    return (*metrics, *own)
