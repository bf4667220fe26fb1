"""Reads what came since the last look, from our own tables and from the servers' answers.

Nothing is written here: the cursor that is returned is kept in the same statement as the evidence.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.analysis.comparator import Comparator
from apps.analysis.domain import comparing, comparison
from apps.analysis.domain.limits import WINDOW, Recent
from apps.analysis.domain.queries import Measured
from apps.analysis.domain.slicing import Piece, slices, tally_of
from apps.analysis.domain.spec import ASKED
from apps.analysis.domain.values import Metric, Slice, SourceKind
from apps.analysis.models import AnalysisRun, Asking, Measurement
from apps.endpoints.domain.values import Problem, ReplicaState
from apps.endpoints.models import Revision
from apps.monitoring import selectors as monitoring
from apps.monitoring.domain import histogram
from apps.monitoring.selectors import TrafficSlice
from controlplane.kernel.errors import Permanent, Transient
from controlplane.kernel.quantities import Tally, of_share

Json = dict[str, Any]
# So long may a source be silent before the run says that it cannot look: whoever decides by it
# would pause for every question that was lost on its way.
PATIENCE = timedelta(seconds=40)
NOT_COMPARED = Problem(
    "analysis.no_comparator",
    "Nothing compares answers to mirrored requests here.",
    "Leave the metric out, or run where model servers keep their answers.",
)
NEAR = timedelta(minutes=3)  # who was not looked at for longer reads by itself
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Gathered:
    """What came since the last look.

    Attributes:
        slices: By metric's name.
        until: All traffic that began before is in them, or was before.
        recent: What hard limits look at: the last minute, with the window that still fills.
        cursor: How far other sources were read.
        comparison: What all answers compared so far add up to; None when none are compared.
        problem: Why something cannot be seen; None when all can.
    """

    slices: Mapping[str, Sequence[Slice]]
    until: datetime
    recent: Recent
    cursor: Json
    comparison: Json | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class Ahead:
    """What both sides of many runs did lately, read for all of them by two queries.

    Attributes:
        until: As `monitoring.measured_until` said before the windows were read.
        rows: By revision's row id, by time.
    """

    until: datetime | None
    rows: Mapping[int, Sequence[TrafficSlice]]

    def of(self, run: AnalysisRun) -> list[TrafficSlice]:
        """Return what both sides of one run did."""
        return [row for side in _sides(run) for row in self.rows.get(side, ())]


def read_together(runs: Sequence[AnalysisRun], now: datetime) -> None:
    """Leave on every run that was looked at lately what its next look asks of the traffic."""
    near = [run for run in runs if run.ended_at is None and run.consumed_until > now - NEAR]
    if not near:
        return
    until = monitoring.measured_until(now)
    sides = {side for run in near for side in _sides(run)}
    since = min(_since(run, now) for run in near)
    rows: dict[int, list[TrafficSlice]] = {}
    for row in monitoring.traffic_windows(sides, after=since, until=now):
        rows.setdefault(row.revision, []).append(row)
    ahead = Ahead(until, rows)
    for run in near:
        run.ahead = ahead


def gather(
    run: AnalysisRun, metrics: Sequence[Metric], comparator: Comparator | None, now: datetime
) -> Gathered:
    """Return what came since the last look of `run`.

    What cannot be seen is a problem, and all the rest is there nevertheless: it may still prove
    the canary worse.
    """
    ahead: Ahead | None = run.ahead
    measured = ahead.until if ahead else monitoring.measured_until(now)
    until = max(measured or run.consumed_until, run.consumed_until)
    seen = _traffic(run, now)
    found = {
        metric.name: _between(seen, run, count, since=run.consumed_until, until=until)
        for metric in metrics
        if (count := _counter(metric)) is not None
    }
    cursor = dict(run.cursor)
    found |= _told(run, metrics, cursor, now)
    found |= _measured(run, metrics, cursor)
    compared, problem = _compared(run, metrics, comparator, cursor, now)
    found |= compared.slices
    begin = now - WINDOW - timedelta(seconds=10)
    recent = Recent(
        errors=_between(seen, run, _errors, since=max(begin, run.started_at), until=now)
    )
    return Gathered(
        found,
        until,
        recent,
        cursor,
        compared.comparison,
        problem or _unanswered(run, metrics, now),
    )


def slices_of(
    run: AnalysisRun, metrics: Iterable[Metric], *, since: datetime, until: datetime
) -> dict[str, list[Slice]]:
    """Return what both sides did in a span of time, by metric's name, as far as it is kept."""
    rows = monitoring.traffic_windows(_sides(run), after=since, until=until)
    return {
        metric.name: _between(rows, run, count, since=since, until=until)
        for metric in metrics
        if (count := _counter(metric)) is not None
    }


# --- traffic ------------------------------------------------------------------------------------


def _traffic(run: AnalysisRun, now: datetime) -> list[TrafficSlice]:
    """Return what both sides did since the last look, and in the last minute."""
    ahead: Ahead | None = run.ahead
    rows = (
        monitoring.traffic_windows(_sides(run), after=_since(run, now), until=now)
        if ahead is None
        else ahead.of(run)
    )
    return [row for row in rows if row.starts_at >= run.started_at]


def _since(run: AnalysisRun, now: datetime) -> datetime:
    return min(run.consumed_until, now - WINDOW - timedelta(seconds=10))


def _between(
    rows: Iterable[TrafficSlice],
    run: AnalysisRun,
    count: Callable[[TrafficSlice], Tally],
    *,
    since: datetime,
    until: datetime,
) -> list[Slice]:
    pieces: dict[int | None, list[Piece]] = {run.stable_id: [], run.candidate_id: []}
    for row in rows:
        if since <= row.starts_at < until:
            pieces[row.revision].append(Piece(row.starts_at, row.seconds, count(row)))
    stable = pieces[run.stable_id] if run.stable_id else []
    return slices(stable, pieces[run.candidate_id], since=since, until=until)


def _counter(metric: Metric) -> Callable[[TrafficSlice], Tally] | None:
    """Return what a metric counts of a window; None when it is not about traffic."""
    if metric.source is SourceKind.ERRORS:
        return _errors
    if metric.source is SourceKind.REFUSED:
        return lambda row: of_share(row.requests, row.errors_4xx)
    if metric.source is SourceKind.SLOW and metric.over_ms is not None:
        first = histogram.bucket_of(metric.over_ms) + 1
        return lambda row: of_share(sum(row.latency), sum(row.latency[first:]))
    return None


def _errors(row: TrafficSlice) -> Tally:
    return of_share(row.requests, row.errors_5xx)


def _sides(run: AnalysisRun) -> list[int]:
    return [pk for pk in (run.stable_id, run.candidate_id) if pk is not None]


# --- feedback -----------------------------------------------------------------------------------


def _told(
    run: AnalysisRun, metrics: Sequence[Metric], cursor: Json, now: datetime
) -> dict[str, list[Slice]]:
    """Return what callers told; a window of it is complete later than one of traffic."""
    told = [m for m in metrics if m.source is SourceKind.FEEDBACK]
    since = _time(cursor.get("told"), run.started_at)
    until = max(monitoring.told_until(now), since)
    if told:
        cursor["told"] = until.isoformat()
    return {metric.name: _told_of(run, metric, since, until) for metric in told}


def _told_of(run: AnalysisRun, metric: Metric, since: datetime, until: datetime) -> list[Slice]:
    rows = monitoring.feedback_windows(
        _sides(run), metric.query or metric.name, after=since, until=until
    )
    sums: dict[int, dict[datetime, Tally]] = {side: {} for side in _sides(run)}
    for row in rows:
        there = sums[row.revision]
        there[row.starts_at] = there.get(row.starts_at, Tally()) + row.tally
    stable, canary = (
        [Piece(at, 10.0, tally) for at, tally in sums.get(side or 0, {}).items()]
        for side in (run.stable_id, run.candidate_id)
    )
    return slices(stable, canary, since=since, until=until)


# --- other sources ------------------------------------------------------------------------------


def _measured(run: AnalysisRun, metrics: Sequence[Metric], cursor: Json) -> dict[str, list[Slice]]:
    """Return what other sources said since; `asking` has written it down."""
    asked = {m.name: m for m in metrics if m.source in ASKED}
    if not asked:
        return {}
    read: dict[str, str] = dict(cursor.get("measured", {}))
    found: dict[str, list[Slice]] = {name: [] for name in asked}
    oldest = min(_time(read.get(name), run.started_at) for name in asked)
    rows = Measurement.objects.filter(run=run, at__gte=oldest).order_by("at", "id")
    for row in rows:
        if row.metric in asked and row.at > _time(read.get(row.metric), NEVER):
            found[row.metric].append(_slice_of(asked[row.metric], row))
            read[row.metric] = row.at.isoformat()
    cursor["measured"] = read
    return found


def _slice_of(metric: Metric, row: Measurement) -> Slice:
    stable = tally_of(metric.kind, Measured(row.stable, row.stable_count))
    canary = tally_of(metric.kind, Measured(row.canary, row.canary_count))
    return Slice(row.at, row.seconds, stable, canary)


def _unanswered(run: AnalysisRun, metrics: Sequence[Metric], now: datetime) -> Problem | None:
    """Return why another source has had no answer for a while, where one has none."""
    if not any(metric.source in ASKED for metric in metrics):
        return None
    for row in Asking.objects.filter(run=run).exclude(problem="").order_by("id"):
        if now - (row.answered_at or run.started_at) >= PATIENCE:
            return Problem(row.problem_code, row.problem, row.remedy)
    return None


# --- mirrored answers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Compared:
    slices: dict[str, list[Slice]]
    comparison: Json | None = None


def _compared(
    run: AnalysisRun,
    metrics: Sequence[Metric],
    comparator: Comparator | None,
    cursor: Json,
    now: datetime,
) -> tuple[_Compared, Problem | None]:
    """Return how both sides answered the same requests; it moves the cursor."""
    names = [m.name for m in metrics if m.source is SourceKind.DISAGREEMENT]
    if not names or run.stable is None:
        return _Compared({}), None
    if comparator is None:
        return _Compared({}), NOT_COMPARED
    since = _time(cursor.get("compared"), run.started_at)
    try:
        looked = comparator.look(
            cursor.get("answers", {}), stable_ports=_ports(run.stable),
            canary_ports=_ports(run.candidate), now=now, since=run.started_at,
        )  # fmt: skip
    except (Transient, Permanent) as error:
        brief = now - since < PATIENCE
        problem = Problem(error.code, error.sentence, error.remedy)
        return _Compared({}), None if brief else problem
    cursor |= {"answers": looked.cursor, "compared": now.isoformat()}
    piece = Slice(since, (now - since).total_seconds(), Tally(), comparing.tally(looked.compared))
    total = looked.added_to(comparison.from_json(run.comparison))
    silent = Problem("analysis.no_answers", looked.problem, "") if looked.problem else None
    return _Compared({name: [piece] for name in names}, comparison.to_json(total)), silent


def _ports(revision: Revision) -> list[int]:
    return [
        replica["port"]
        for replica in revision.observed_replicas
        if replica.get("state") == ReplicaState.READY and replica.get("port")
    ]


def _time(written: str | None, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(written) if written else otherwise
