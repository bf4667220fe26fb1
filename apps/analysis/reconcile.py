"""One pass over an analysis: look at what came, judge, and write down what is known.

1. Gather: windows of both sides over the same time, what other sources said, what was answered to
   mirrored requests. No transaction is open.
2. Judge, which is pure.
3. Write the evidence together with how far everything was read, in one statement under the lease.
   A worker that dies before it leaves the last look as it was, and the next one sees the same
   news again: nothing counts twice.

Whoever decides by the analysis is woken when there is something new to decide by. Nothing here
moves traffic.

Of many analyses that are due at once, traffic is read for all together, and so are those looks
written that leave the answer as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction

from apps.analysis import gathering, selectors
from apps.analysis.comparator import Comparator
from apps.analysis.domain import calibration, judge, limits, looking, pace, pooling, terms
from apps.analysis.domain.looking import News
from apps.analysis.domain.pooling import Alike
from apps.analysis.domain.state import state_from_json, state_to_json
from apps.analysis.domain.states import ANALYSIS, ENDED, AnalysisMove, AnalysisState
from apps.analysis.domain.terms import Terms
from apps.analysis.domain.values import (
    Answer,
    Finding,
    Judgement,
    Metric,
    MetricKind,
    Slice,
    SourceKind,
)
from apps.analysis.gathering import Gathered
from apps.analysis.models import AnalysisRun, Look, Measurement
from apps.audit import services as audit
from apps.endpoints.domain.values import Problem
from controlplane.db import bulk
from controlplane.db.live import announce_all
from controlplane.db.nudge import wake
from controlplane.db.reconcile import Claim, Record, record_together
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import ControlPlaneError, Invalid

log = structlog.get_logger(__name__)

KIND = "analysis"
ACTOR = worker("analysis")
PARKED = timedelta(seconds=60)
KEPT = timedelta(days=90)
LEARNT_FROM = timedelta(hours=1)  # of a run's end: as much as `pooling` keeps
TIDY_AT_ONCE = 20_000  # rows
Columns = dict[str, Any]
# What a look writes: all but the state, which a quiet look leaves alone.
LOOKED = (
    "consumed_until", "cursor", "dispersion", "judged_step", "limit_hit", "answer", "sentence",
    "remaining_seconds", "findings", "evidence", "comparison", "looked_at", "problem",
    "problem_code", "remedy",
)  # fmt: skip
STOOD = frozenset({"state", "answer", "problem", "problem_code", "remedy", "limit_hit"})
KEPT_OF_FINDING = (
    "metric", "worse", "not_worse", "stable", "canary", "stable_total", "canary_total", "low",
    "high",
)  # fmt: skip
POINT = ("run_id", "at", "step", *KEPT_OF_FINDING)


@dataclass(frozen=True)
class AnalysisReconciler:
    """Drives one analysis.

    Attributes:
        comparator: Compares answers to mirrored requests; None where none are kept.
    """

    comparator: Comparator | None = None

    def __call__(self, claim: Claim[AnalysisRun], now: datetime) -> None:
        """Run one pass."""
        run = claim.row
        if AnalysisState(run.state) in ENDED:
            _rest(claim)
            return
        try:
            sight = self._look(run, now)
        except Invalid as error:  # the plan itself cannot be read
            self.park(claim, error, now)
            return
        _write(claim, sight, now)

    def together(
        self, claims: Sequence[Claim[AnalysisRun]], now: datetime
    ) -> Sequence[Claim[AnalysisRun]]:
        """Write at once the looks after which all stands as it stood; return the other claims.

        What is read for all stays on the rows, so that a pass of its own reads nothing again.
        """
        gathering.read_together([claim.row for claim in claims], now)
        quiet: list[_Quiet] = []
        other: list[Claim[AnalysisRun]] = []
        for claim in claims:
            look = self._quiet_look(claim, now)
            if look is None:
                other.append(claim)
            else:
                quiet.append(look)
        _write_together(quiet, now)
        return other

    def _quiet_look(self, claim: Claim[AnalysisRun], now: datetime) -> "_Quiet | None":
        """Look, and return what is to be written if that concerns nobody; None otherwise."""
        run = claim.row
        if AnalysisState(run.state) in ENDED or run.evidence is None or _asks_servers(run):
            return None
        try:
            sight = self._look(run, now)
        except Exception:  # its own pass meets that again, and says so
            return None
        columns = _columns(run, sight, now)
        if _concerns_somebody(run, _different(run, columns)):
            return None
        return _Quiet(claim, sight, columns)

    def park(self, claim: Claim[AnalysisRun], error: ControlPlaneError, now: datetime) -> None:
        """Say why it cannot look, and try again later; what it has seen stays."""
        run = claim.row
        if AnalysisState(run.state) in ENDED:
            claim.record(next_at=now + PARKED, attempts=0)
            return
        problem = Problem(error.code, error.sentence, error.remedy)
        _record(claim, _stood(run, problem, now), next_at=now + PARKED, now=now)

    def _look(self, run: AnalysisRun, now: datetime) -> "_Sight":
        learnt = run.dispersion if run.evidence is not None else _learnt(run)
        agreed = terms.read(run.plan, dispersion={n: d["value"] for n, d in learnt.items()})
        gathered = gathering.gather(run, agreed.plan.metrics, self.comparator, now)
        return _judged(run, agreed, gathered, learnt)


@dataclass(frozen=True)
class _Sight:
    """What one look came to.

    Attributes:
        gathered: What was seen.
        found: What is known now.
        columns: What the row says of it.
    """

    gathered: Gathered
    found: Judgement
    columns: Columns


@dataclass(frozen=True)
class _Quiet:
    """A look after which the run stands as it stood.

    Attributes:
        claim: The right to write it.
        sight: What the look came to.
        columns: What the row says then.
    """

    claim: Claim[AnalysisRun]
    sight: _Sight
    columns: Columns


def tidy(now: datetime) -> int:
    """Drop looks and measurements that are older than three months, and return how many."""
    before = now - KEPT
    looks = Look.objects.filter(at__lt=before).values("pk")[:TIDY_AT_ONCE]
    dropped = Look.objects.filter(pk__in=looks).delete()[0]
    told = Measurement.objects.filter(at__lt=before).values("pk")[:TIDY_AT_ONCE]
    return dropped + Measurement.objects.filter(pk__in=told).delete()[0]


def _judged(
    run: AnalysisRun, agreed: Terms, gathered: Gathered, learnt: Mapping[str, Any]
) -> _Sight:
    """Return what is known with what came: pure but for its arguments."""
    plan = agreed.plan
    news = News(
        gathered.slices, run.step_at if run.step != run.judged_step else None, gathered.until
    )
    before = state_from_json(run.evidence) if run.evidence is not None else judge.begin(plan)
    after = looking.advance(plan, before, news)
    found = looking.judgement(plan, after, news, has_stable=run.stable_id is not None)
    # A limit that was hit stays hit: the canary may get nothing since, and look well by that.
    hit = run.limit_hit or limits.hit(agreed.limits, gathered.recent) or ""
    columns: Columns = {
        "consumed_until": gathered.until,
        "cursor": gathered.cursor,
        "dispersion": dict(learnt),
        "judged_step": run.step if news.step_is_due else run.judged_step,
        "limit_hit": hit,
        **looking.columns(found),
    }
    if run.evidence is None or after != before:
        columns["evidence"] = state_to_json(after)
    if gathered.comparison is not None:
        columns["comparison"] = gathered.comparison
    return _Sight(gathered, found, columns)


def _write(claim: Claim[AnalysisRun], sight: _Sight, now: datetime) -> None:
    run = claim.row
    with transaction.atomic():
        if _record(claim, _columns(run, sight, now), next_at=_next_look(run, now), now=now):
            _keep([(run, sight)], now)


def _write_together(looks: Sequence[_Quiet], now: datetime) -> None:
    """Write many looks by a handful of statements; whose lease was lost is left out."""
    records = [
        Record(
            look.claim,
            _next_look(look.claim.row, now),
            {"attempts": 0, **{name: _there(look, name) for name in LOOKED}},
        )
        for look in looks
    ]
    sights = {look.claim.row.pk: look.sight for look in looks}
    with transaction.atomic():
        written = [record.claim.row for record in record_together(records)]
        _keep([(run, sights[run.pk]) for run in written], now)


def _there(look: _Quiet, name: str) -> Any:
    return look.columns.get(name, getattr(look.claim.row, name))


def _keep(looks: Sequence[tuple[AnalysisRun, _Sight]], now: datetime) -> None:
    """Keep points of the curves, and have open pages look again."""
    points, topics = [], []
    for run, sight in looks:
        seen = _with_news(sight.gathered.slices)
        found = [finding for finding in sight.found.findings if finding.metric in seen]
        if pace.is_drawn(now, run.looked_at, age=_age(run, now)) or _turned(run, sight):
            points += [_point(run, finding, now) for finding in found]
        if seen:
            topics += [f"analysis/{run.public_id}", run.subject]
    bulk.insert(Look, POINT, points)
    if topics:
        announce_all(topics, hint="look")


def _columns(run: AnalysisRun, sight: _Sight, now: datetime) -> Columns:
    return {**_stood(run, sight.gathered.problem, now), **sight.columns, "looked_at": now}


def _next_look(run: AnalysisRun, now: datetime) -> datetime:
    return pace.next_look(now, age=_age(run, now), number=run.pk)


def _age(run: AnalysisRun, now: datetime) -> timedelta:
    return now - max(run.started_at, run.step_at)


def _turned(run: AnalysisRun, sight: _Sight) -> bool:
    return sight.found.answer != run.answer


def _different(run: AnalysisRun, columns: Columns) -> Columns:
    return {name: value for name, value in columns.items() if getattr(run, name) != value}


def _concerns_somebody(run: AnalysisRun, different: Columns) -> bool:
    """Return whether these changes are for the ledger, or for whoever decides by the run."""
    return not STOOD.isdisjoint(different) or bool(_entries(run, different))


def _record(
    claim: Claim[AnalysisRun], columns: Columns, *, next_at: datetime, now: datetime
) -> bool:
    """Write what differs, with its ledger entries, and wake whom it concerns."""
    run = claim.row
    different = _different(run, columns)
    with transaction.atomic(savepoint=False):
        if not claim.record(next_at=next_at, attempts=0, **different):
            return False
        for verb, what in _entries(run, different):
            _tell(run, verb, **what)
        if _concerns_somebody(run, different):
            announce_all([f"analysis/{run.public_id}", run.subject])
            if run.wakes_id is not None:
                wake(run.wakes_kind, run.wakes_id, now=now)
    return True


def _stood(run: AnalysisRun, problem: Problem | None, now: datetime) -> Columns:
    """Return the columns of whether the run can look."""
    state = AnalysisState(run.state)
    move = _move(state, problem)
    told: Columns = {
        "problem_code": problem.code[:64] if problem else "",
        "problem": problem.sentence if problem else "",
        "remedy": problem.remedy if problem else "",
    }
    return told if move is None else {
        **told, "state": ANALYSIS.after(state, move), "state_since": now,
    }  # fmt: skip


def _move(state: AnalysisState, problem: Problem | None) -> AnalysisMove | None:
    match state:
        case AnalysisState.ERRORED:
            return AnalysisMove.RECOVER if problem is None else None
        case AnalysisState.PENDING if problem is None:
            return AnalysisMove.START
        case _:
            return AnalysisMove.FAULT if problem is not None else None


def _entries(run: AnalysisRun, changed: Columns) -> list[tuple[str, Columns]]:
    """Return what the ledger is told: proofs, limits, and that it cannot look."""
    found: list[tuple[str, Columns]] = []
    if changed.get("limit_hit"):
        found.append(("limit", {"reason": changed["limit_hit"]}))
    if changed.get("answer") in (Answer.WORSE, Answer.NOT_WORSE):
        after = {"answer": str(changed["answer"])}
        reason = changed.get("sentence", run.sentence)
        found.append(
            ("judge", {"before": {"answer": run.answer}, "after": after, "reason": reason})
        )
    if changed.get("state") == AnalysisState.ERRORED:
        found.append(("fault", {"reason": changed.get("problem", run.problem)}))
    if run.state == AnalysisState.ERRORED and changed.get("state") == AnalysisState.RUNNING:
        found.append(("recover", {}))
    return found


def _tell(run: AnalysisRun, verb: str, **what: Any) -> None:
    endpoint = run.candidate.endpoint
    audit.record(
        actor=ACTOR,
        verb=f"analysis.{verb}",
        target=f"analysis/{run.public_id}",
        subject=f"{endpoint.name} revision {run.candidate.number}",
        **what,
    )
    log.info("analysis.told", analysis=run.public_id, verb=verb, subject=run.subject)


def _asks_servers(run: AnalysisRun) -> bool:
    """Return whether a look asks model servers for their answers, which may keep it waiting."""
    metrics = run.plan.get("metrics") or []
    return any(metric.get("source") == SourceKind.DISAGREEMENT for metric in metrics)


def _with_news(slices: Mapping[str, Sequence[Slice]]) -> set[str]:
    """Return the metrics of which anything was observed."""
    return {
        name
        for name, pieces in slices.items()
        if any(piece.stable.count or piece.canary.count for piece in pieces)
    }


def _point(run: AnalysisRun, finding: Finding, now: datetime) -> tuple[Any, ...]:
    kept = looking.as_document(finding)
    return (run.pk, now, run.step, *(kept[name] for name in KEPT_OF_FINDING))


# --- what runs learn from each other ------------------------------------------------------------


def _learnt(run: AnalysisRun) -> dict[str, Any]:
    """Return how noisy the endpoint is, metric by metric, as earlier runs have shown."""
    found: dict[str, Any] = {}
    for metric in _noisy(terms.read(run.plan, dispersion={}).plan.metrics):
        pool = selectors.calibration_slices(run.candidate.endpoint_id, metric)
        if pool.slices:
            seen = calibration.dispersion(pool.slices)
            found[metric.name] = {
                "value": seen.value, "from": pool.sentence, "slices": len(pool.slices),
            }  # fmt: skip
    return found


def _rest(claim: Claim[AnalysisRun]) -> None:
    """Keep what later runs can learn from one that has ended, and look at it no more."""
    run = claim.row
    alike = _alike(run)
    if run.calibration is not None or alike is None or run.ended_at is None:
        claim.record(next_at=None, attempts=0)
        return
    metrics = _noisy(terms.read(run.plan, dispersion={}).plan.metrics)
    since = max(run.started_at, run.ended_at - LEARNT_FROM)
    found = gathering.slices_of(run, metrics, since=since, until=run.ended_at)
    kept = {pooling.key_of(m): pooling.pack(found[m.name]) for m in metrics if found.get(m.name)}
    claim.record(next_at=None, attempts=0, calibration={"alike": str(alike), "slices": kept})


def _alike(run: AnalysisRun) -> Alike | None:
    """Return why both sides of an ended run count as alike; None when they do not."""
    if run.stable is None or not run.plan.get("teaches", True):
        return None
    if run.stable.bundle_digest == run.candidate.bundle_digest:
        return Alike.SAME_BYTES
    return Alike.PROMOTED if run.state == AnalysisState.PASSING else None


def _noisy(metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics whose requests are taken as independent: shares, not whole slices."""
    return [m for m in metrics if m.kind is MetricKind.RATE and not m.cluster]
