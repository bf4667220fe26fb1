"""What an experiment or a bandit has come to, from what callers have sent. Nothing here writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from apps.analysis import selectors as analyses
from apps.analysis.domain import bandit, experiment
from apps.analysis.domain.bandit import Arm, Bounds, Decision, Ending, Segments
from apps.endpoints.models import Revision
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
REST = ""  # what belongs to no segment that the strategy names
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
    segments = _segments(row, trying, _told(row, trying, begun, now))
    bounds = Bounds(floor=trying.floor, ceiling=trying.ceiling)
    metric = trying.metric
    decision = bandit.decided(
        segments, bounds, elapsed=now - begun, horizon=trying.horizon,
        kind=metric.kind, better=metric.better,
    )  # fmt: skip
    if decision.ending is not Ending.RUNNING:
        return Learnt(_outcome(row, decision), decision.sentence)
    due = now >= (row.allocated_at or begun) + trying.every
    present = planning.allocation_of(row) or Allocation(planning.of(row).steps[row.step].weight)
    wanted = _split(row, trying, segments, bounds, present) if due else present
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


def _split(
    row: Rollout, trying: Trying, segments: Segments, bounds: Bounds, present: Allocation
) -> Allocation:
    """Return the weights that the rewards speak for, for each segment and for the rest."""
    number, metric = row.candidate.number, trying.metric
    each = bandit.allocate_segments(
        segments, bounds,
        previous={v: _weights(row, w) for v, w in present.segments.items()},
        start=_weights(row, present.weight), kind=metric.kind, better=metric.better,
    )  # fmt: skip
    weights = {value: split[number] for value, split in each.items()}
    rest = weights.pop(REST)
    return Allocation(rest, weights)


def tallies(told: Told, trying: Trying, side: Revision | None) -> dict[str, Tally]:
    """Return what callers told of one side: of each segment that is named, and of the rest."""
    summed = dict.fromkeys((*trying.values, REST), Tally())
    for (pk, segment), tally in told.items():
        if side is not None and pk == side.pk:
            summed[segment if segment in trying.values else REST] += tally
    return summed


def _segments(row: Rollout, trying: Trying, told: Told) -> Segments:
    """Return both sides, in each segment that is named and in the rest."""
    sides = [side for side in (row.stable, row.candidate) if side is not None]
    by_side = {side.number: tallies(told, trying, side) for side in sides}
    return {
        name: [Arm(number, summed[name]) for number, summed in by_side.items()]
        for name in (*trying.values, REST)
    }


def _weights(row: Rollout, candidate: int) -> dict[int, int]:
    stable = row.stable.number if row.stable else 0
    return {row.candidate.number: candidate, stable: WHOLE - candidate}
