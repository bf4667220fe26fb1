"""How a rollout stands: everything its next move depends on, read at one moment.

Nothing here writes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from apps.analysis import selectors as analyses
from apps.analysis.domain.ending import Standing
from apps.endpoints import selectors as endpoints
from apps.endpoints.domain import runtimes, sizes, trials
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import WHOLE
from apps.endpoints.models import Revision
from apps.rollouts import learning, planning
from apps.rollouts.domain import decide as d
from apps.rollouts.domain.preflight import Fit, Fitting, Needs, Room, fit
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Step
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.models import Rollout
from apps.rollouts.planning import Planned
from apps.rollouts.ports import Capacity, Free

WHOLE_ROW = (
    "endpoint__environment",
    "endpoint__model__team",
    "candidate__version",
    "candidate__variant",
    "stable__version",
    "stable__variant",
)


@dataclass(frozen=True)
class Sight:
    """One rollout at one moment."""

    row: Rollout
    position: d.Position
    steps: tuple[Step, ...]
    seen: d.Seen


def look(pk: int, capacity: Capacity, now: datetime) -> Sight:
    """Read everything about a rollout.

    Raises:
        Transient: Nobody could say how much room there is.
    """
    row = Rollout.objects.select_related(*WHOLE_ROW).get(pk=pk)
    free = capacity.free(row.endpoint.environment.slug) if _is_pending(row) else None
    return _sight(row, _standings([row], now), free, now)


def look_at_many(pks: Iterable[int], now: datetime) -> list[Sight]:
    """Read everything about rollouts, by two queries.

    Those that have not begun, or whose strategy cannot be read, are left out.
    """
    rows = Rollout.objects.select_related(*WHOLE_ROW).filter(pk__in=list(pks))
    begun = [row for row in rows.exclude(state=RolloutState.PENDING) if planning.is_legible(row)]
    standings = _standings(begun, now)
    return [_sight(row, standings, None, now) for row in begun]


def _standings(rows: Sequence[Rollout], now: datetime) -> Mapping[str, Standing]:
    """Return what the judge says of rollouts, where one goes along."""
    subjects = [
        planning.subject(row) for row in rows if planning.is_judged(row) and not _is_pending(row)
    ]
    return analyses.standings_of(subjects, now) if subjects else {}


def _is_pending(row: Rollout) -> bool:
    return row.state == RolloutState.PENDING


def _sight(
    row: Rollout, standings: Mapping[str, Standing], free: Free | None, now: datetime
) -> Sight:
    plan = planning.of(row)
    position = d.Position(
        state=RolloutState(row.state),
        index=row.step,
        pause=d.PauseKind(row.pause) if row.pause else None,
        accepted=row.accepted,
        step_seen_at=row.step_seen_at,
        on_deadline=plan.strategy.on_deadline,
    )
    judged = standings.get(planning.subject(row))
    return Sight(row, position, plan.steps, _seen(row, plan, judged, free, now))


def _seen(
    row: Rollout, plan: Planned, judged: Standing | None, free: Free | None, now: datetime
) -> d.Seen:
    candidate, endpoint = row.candidate, row.endpoint
    trying = learning.look(row, plan, now)
    return d.Seen(
        at=now,
        candidate=RevisionState(candidate.state),
        wanted=planning.wanted(row),
        problem=candidate.problem,
        arrived=_arrived(row),
        asked=trials.from_json(endpoint.trial),
        in_force=trials.from_json(endpoint.trial_seen),
        in_force_since=endpoint.trial_seen_since,
        restored=_restored(row),
        answer=judged.answer if judged else None,
        why=judged.sentence if judged else "",
        limit=_limit(row, plan, judged),
        broken=_broken(judged) or trying.broken,
        outcome=trying.outcome,
        outcome_why=trying.why,
        allocation=trying.allocation,
        fit=preflight(row, free) if free else None,
    )


def _broken(judged: Standing | None) -> str:
    """Return why the analysis cannot run.

    One that nobody has looked at for a while is only late: the workers were away, and look again
    before long. It answers "not yet" meanwhile, which leads nowhere.
    """
    return judged.problem if judged is not None and not judged.stale else ""


def _arrived(row: Rollout) -> bool:
    """Return whether the candidate is live, or became so since the rollout began."""
    since = row.candidate.live_at
    return row.candidate.state == RevisionState.LIVE or (
        since is not None and since >= row.created_at
    )


def _restored(row: Rollout) -> bool:
    """Return whether requests go where they went before; a stable one that left cannot get any."""
    gone = row.candidate.observed_weight == 0
    stable = row.stable
    if stable is None or stable.state != RevisionState.LIVE:
        return gone
    return gone and stable.observed_weight == WHOLE


def _limit(row: Rollout, plan: Planned, judged: Standing | None) -> str:
    if judged and judged.limit_hit:
        return judged.limit_hit
    ends, most = row.candidate.restarts, plan.strategy.limits.restarts
    if ends >= most:
        times = "once" if ends == 1 else f"{ends} times"
        return f"The canary's servers have ended {times}, and {most} ends it."
    return ""


def preflight(row: Rollout, free: Free) -> Fit:
    """Return whether the candidate fits beside what is live."""
    if row.candidate.state == RevisionState.SHIFTING:
        return Fit(Fitting.FITS, "Its servers are still warm: nothing has to start.")
    quota = row.endpoint.environment.max_replicas
    return fit(
        needs_of(row.candidate),
        needs_of(row.stable) if row.stable else None,
        Room(free.memory_mb, free.gpus, quota),
        recreate=planning.of(row).strategy.kind is StrategyKind.RECREATE,
        start=usual_start(row.candidate),
    )


def needs_of(revision: Revision) -> Needs:
    """Return what all replicas of a revision take."""
    variant = revision.variant
    each = sizes.memory_mb(model_bytes=variant.size, measured_mb=variant.memory_mb)
    gpus = int(revision.configuration.get("gpus", 0))
    return Needs(revision.replicas, each * revision.replicas, gpus * revision.replicas)


def usual_start(revision: Revision) -> timedelta:
    """Return how long a revision like this took to answer, lately, or may take."""
    took = endpoints.starts(revision.endpoint_id, runtime=revision.runtime)
    if took:
        return timedelta(seconds=median(t.total_seconds() for t in took))
    return runtimes.runtime(revision.runtime).start_within
