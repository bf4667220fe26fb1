"""What an experiment or a bandit has come to, from what callers have sent. Nothing here writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from apps.analysis import selectors as analyses
from apps.analysis.domain import bandit, experiment
from apps.analysis.domain.bandit import Arm, Bounds, Decision, Ending
from apps.monitoring import selectors as monitoring
from apps.rollouts import planning
from apps.rollouts.domain.decide import Outcome
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Allocation
from apps.rollouts.domain.strategy import StrategyKind, Trying
from apps.rollouts.models import Rollout
from apps.rollouts.planning import Planned
from controlplane.kernel.errors import Invalid
from controlplane.kernel.quantities import Tally

OUTCOMES = {
    experiment.Outcome.RUNNING: Outcome.RUNNING,
    experiment.Outcome.BETTER: Outcome.BETTER,
    experiment.Outcome.NOT_BETTER: Outcome.NOT_BETTER,
    experiment.Outcome.UNDECIDED: Outcome.UNDECIDED,
}
CLIMBING = RolloutState.PROGRESSING
WHOLE = 100  # percent
Told = Mapping[tuple[int, str], Tally]  # by revision and segment


@dataclass(frozen=True)
class Learnt:
    """What was learnt so far.

    Attributes:
        outcome: Of the experiment or the bandit.
        why: In a sentence.
        allocation: A split that the bandit wants instead of the present one; None to keep it.
        broken: Why nothing can be learnt; "" when it can.
    """

    outcome: Outcome = Outcome.RUNNING
    why: str = ""
    allocation: Allocation | None = None
    broken: str = ""


def look(row: Rollout, plan: Planned, now: datetime) -> Learnt:
    """Return what was learnt; of a strategy that learns nothing, nothing."""
    trying = plan.strategy.trying
    begun = row.step_seen_at
    if trying is None or begun is None or row.stable is None or row.state != CLIMBING:
        return Learnt()
    try:
        if plan.strategy.kind is StrategyKind.AB:
            return _of_experiment(row, plan, trying, now)
        return _of_bandit(row, trying, begun, now)
    except Invalid as error:  # what callers send is not what the metric says it is
        return Learnt(broken=error.sentence)


def _of_experiment(row: Rollout, plan: Planned, trying: Trying, now: datetime) -> Learnt:
    run = analyses.of(planning.subject(row))
    findings = run.findings if run is not None else []
    known = {finding["metric"]: finding for finding in findings}
    found = known.get(trying.metric.name, {})
    asked = experiment.Experiment(
        hypothesis=trying.hypothesis,
        metric=trying.metric.title,
        better=trying.metric.better,
        least_effect=trying.least_effect,
        horizon=trying.horizon,
        alpha=plan.strategy.alpha,
        kind=trying.metric.kind,
    )
    elapsed = now - (row.step_seen_at or now)
    said = experiment.verdict(asked, low=found.get("low"), high=found.get("high"), elapsed=elapsed)
    return Learnt(OUTCOMES[said.outcome], said.sentence)


def _of_bandit(row: Rollout, trying: Trying, begun: datetime, now: datetime) -> Learnt:
    told = _told(row, trying, begun, now)
    bounds = Bounds(floor=trying.floor, ceiling=trying.ceiling)
    metric = trying.metric
    decision = bandit.decided(
        _arms(row, told), bounds, elapsed=now - begun, horizon=trying.horizon,
        kind=metric.kind, better=metric.better,
    )  # fmt: skip
    if decision.ending is not Ending.RUNNING:
        return Learnt(_outcome(row, decision), decision.sentence)
    due = now >= (row.allocated_at or begun) + trying.every
    wanted = _split(row, trying, told, bounds) if due else None
    present = planning.allocation_of(row) or Allocation(planning.of(row).steps[row.step].weight)
    return Learnt(Outcome.RUNNING, decision.sentence, wanted if wanted != present else None)


def _told(row: Rollout, trying: Trying, begun: datetime, now: datetime) -> Told:
    sides = [pk for pk in (row.stable_id, row.candidate_id) if pk is not None]
    return monitoring.feedback_totals(
        sides, trying.metric.name, after=begun, until=monitoring.told_until(now)
    )


def _outcome(row: Rollout, decision: Decision) -> Outcome:
    if decision.ending is Ending.HORIZON:
        return Outcome.UNDECIDED
    won = decision.leader == row.candidate.number
    return Outcome.BETTER if won else Outcome.NOT_BETTER


def _split(row: Rollout, trying: Trying, told: Told, bounds: Bounds) -> Allocation:
    """Return the weights that the rewards speak for, as a whole and for each segment."""
    present = planning.allocation_of(row) or Allocation(planning.of(row).steps[row.step].weight)
    number, metric = row.candidate.number, trying.metric
    whole = bandit.allocate(
        _arms(row, told), bounds, previous=_weights(row, present.weight),
        kind=metric.kind, better=metric.better,
    )  # fmt: skip
    if not trying.values:
        return Allocation(whole[number])
    each = bandit.allocate_segments(
        {value: _arms(row, told, segment=value) for value in trying.values}, bounds,
        previous={v: _weights(row, w) for v, w in present.segments.items()},
        start=_weights(row, present.weight), kind=metric.kind, better=metric.better,
    )  # fmt: skip
    return Allocation(whole[number], {value: weights[number] for value, weights in each.items()})


def _arms(row: Rollout, told: Told, *, segment: str | None = None) -> list[Arm]:
    """Return both sides with what callers told of them; of one segment, or of all together."""
    sides = [side for side in (row.stable, row.candidate) if side is not None]
    return [
        Arm(
            side.number,
            sum(
                (t for (pk, name), t in told.items()
                 if pk == side.pk and segment in (None, name)),
                Tally(),
            ),
        )
        for side in sides
    ]  # fmt: skip


def _weights(row: Rollout, candidate: int) -> dict[int, int]:
    stable = row.stable.number if row.stable else 0
    return {row.candidate.number: candidate, stable: WHOLE - candidate}
