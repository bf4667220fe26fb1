"""One pass over an endpoint: observe, decide, then do one thing. It never ends.

A pass makes one call to the world or one move of the machine, never both, and remembers what it
saw, never what it asked for. Whatever instant a worker dies at, the next pass observes, decides
again and reaches the same end; `tests/integration/endpoints` holds it to that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

import structlog
from django.db import transaction
from django.db.models import F

from apps.audit import services as audit
from apps.endpoints.domain import decide as d
from apps.endpoints.domain import trials
from apps.endpoints.domain.states import REVISION, RevisionMove, RevisionState
from apps.endpoints.domain.values import Problem, ReplicaState
from apps.endpoints.facts import address, facts_of, kept, open_revisions
from apps.endpoints.models import Endpoint, Revision
from apps.endpoints.ports import ModelServers, TrafficRouter
from controlplane.db.live import announce
from controlplane.db.nudge import nudge, wake
from controlplane.db.reconcile import Claim
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import Conflict, ControlPlaneError, Transient

log = structlog.get_logger(__name__)

KIND = "endpoint"
ACTOR = worker("endpoints")
SOON = timedelta(seconds=1)  # a pass that comes sooner than this is asked for, not swept up
PATIENCE = timedelta(seconds=5)  # the longest pause after something outside did not answer
PARKED = timedelta(seconds=60)
ENDED = (RevisionState.RETIRED, RevisionState.FAILED)
MOMENTS = {
    RevisionState.STARTING: "started_at",
    RevisionState.SHIFTING: "ready_at",
    RevisionState.LIVE: "live_at",
    RevisionState.RETIRED: "ended_at",
}
Changes = Mapping[int, Mapping[str, Any]]  # columns by revision row


@dataclass(frozen=True)
class Pass:
    """What one pass knows: the rows it read, and what it saw."""

    claim: Claim[Endpoint]
    rows: tuple[Revision, ...]
    facts: d.EndpointFacts

    def row(self, revision: str) -> Revision:
        """Return the row of the revision with this public id."""
        return next(r for r in self.rows if r.public_id == revision)


@dataclass(frozen=True)
class EndpointReconciler:
    """Drives one endpoint.

    Attributes:
        servers: Runs model servers.
        router: Splits the traffic.
    """

    servers: ModelServers
    router: TrafficRouter

    def __call__(self, claim: Claim[Endpoint], now: datetime) -> None:
        """Run one pass."""
        try:
            current = self._observe(claim, now)
            action = d.decide(current.facts)
            if isinstance(action, d.Call):
                self._call(action, current)
            else:
                _note(action, current)
        except Transient as error:
            # Shorter pauses than the loop's: an endpoint is back soon after what it waits for.
            pause = min(timedelta(seconds=0.5 * 2**claim.row.attempts), PATIENCE)
            claim.record(next_at=now + pause, attempts=F("attempts") + 1)
            log.info("endpoint.postponed", endpoint=claim.row.pk, problem=str(error))
        except Conflict as error:
            claim.record(next_at=now + PATIENCE)
            log.warning("endpoint.overtaken", endpoint=claim.row.pk, problem=str(error))

    def together(
        self, claims: Sequence[Claim[Endpoint]], now: datetime
    ) -> Sequence[Claim[Endpoint]]:
        """Read the open revisions of all by one query; every endpoint has its own pass."""
        rows = open_revisions([claim.row for claim in claims])
        for claim in claims:
            claim.row.ahead = tuple(row for row in rows if row.endpoint_id == claim.row.pk)
        return claims

    def park(self, claim: Claim[Endpoint], error: ControlPlaneError, now: datetime) -> None:
        """Fail what is on its way, for `error`; leave what is live as it is, and look again."""
        rows = open_revisions([claim.row])
        problem = Problem(error.code, error.sentence, error.remedy)
        with transaction.atomic():
            if not claim.record(next_at=now + PARKED, attempts=0):
                return
            for row in rows:
                if row.state in d.ON_ITS_WAY:
                    _write(row, _moved(row, RevisionMove.FAIL, now, problem))
                    _tell(row, RevisionMove.FAIL, problem.sentence)
                    _wake(claim.row, now)
                elif row.state == RevisionState.LIVE:
                    _write(row, _told(problem))
            _announce(claim.row)
            nudge(KIND, claim.row.pk)

    def _observe(self, claim: Claim[Endpoint], now: datetime) -> Pass:
        endpoint = claim.row
        rows = endpoint.ahead if endpoint.ahead is not None else open_revisions([endpoint])
        revisions = tuple(facts_of(endpoint, row) for row in rows)
        waiting = any(r.state == RevisionState.PENDING for r in rows)
        facts = d.EndpointFacts(
            at=now,
            retired=endpoint.retired_at is not None,
            route=address(endpoint),
            revisions=revisions,
            seen=self.router.observe(endpoint.public_id),
            servers=self.servers.observe([r.public_id for r in rows]),
            free_memory_mb=self.servers.free_memory_mb() if waiting else 0,
            trial=trials.from_json(endpoint.trial),
            keep_warm=timedelta(seconds=endpoint.keep_warm_seconds),
        )
        return Pass(claim, rows, facts)

    def _call(self, action: d.Call, current: Pass) -> None:
        """Make one call to the world, and write down what was seen before it."""
        endpoint, soon = current.claim.row, current.facts.at + d.MOVING
        match action:
            case d.PutRoute(route):
                self.router.apply(route)
                _record(current, next_at=current.facts.at, drifted=_drift(current))
            case d.RemoveRoute():
                self.router.remove(endpoint.public_id, generation=endpoint.generation)
                _record(current, next_at=current.facts.at)
            case d.StartServers(spec):
                self.servers.start(spec)
                _record(current, next_at=soon)
            case d.StopServers(revision):
                self.servers.stop(revision, generation=endpoint.generation)
                _record(current, next_at=soon)
            case d.WarmUp(spec):
                self.servers.warm(spec)
                _add(current, spec.revision, {"warmed": True})
            case d.AskGolden(spec):
                golden = self.servers.ask_golden(spec)
                _add(current, spec.revision, {"golden": asdict(golden)})
            case _:
                assert_never(action)


def _note(action: d.Note, current: Pass) -> None:
    now = current.facts.at
    match action:
        case d.Move(revision, move, problem):
            _move(current, [(current.row(revision), move)], problem)
        case d.Settle(revision, drained):
            _settle(current, revision, drained)
        case d.End(revision):
            _add(current, revision, {"ended_at": now})
        case d.Wait(pause, revision, problem):
            also = {current.row(revision).pk: _told(problem)} if problem else {}
            _record(current, next_at=now + pause, also=also)
        case d.Rest():
            _record(current, next_at=None)
        case _:
            assert_never(action)


def _add(current: Pass, revision: str, changes: Mapping[str, Any]) -> None:
    """Write down what was learnt of one revision, and go on at once."""
    _record(current, next_at=current.facts.at, also={current.row(revision).pk: changes})


def _settle(current: Pass, revision: str, drained: str | None) -> None:
    """Make one revision live; the one before it must have gone first, since one may be live."""
    moves = [(current.row(drained), RevisionMove.DRAIN)] if drained else []
    _move(current, [*moves, (current.row(revision), RevisionMove.SETTLE)], None, trial=None)


def _move(
    current: Pass,
    moves: Iterable[tuple[Revision, RevisionMove]],
    problem: Problem | None,
    **intent: Any,
) -> None:
    now = current.facts.at
    with transaction.atomic():
        if not _record(current, next_at=now, **intent):
            return
        for row, move in moves:
            _write(row, _moved(row, move, now, problem))
            _tell(row, move, problem.sentence if problem else "")
        _announce(current.claim.row)
        _wake(current.claim.row, now)


def _moved(
    row: Revision, move: RevisionMove, now: datetime, problem: Problem | None
) -> dict[str, Any]:
    state = REVISION.after(RevisionState(row.state), move)
    changes: dict[str, Any] = {"state": state, "state_since": now}
    if problem is not None or state not in ENDED:
        changes |= _told(problem)
    if state in MOMENTS:
        changes[MOMENTS[state]] = now
    return changes


def _record(
    current: Pass,
    *,
    next_at: datetime | None,
    also: Changes | None = None,
    drifted: str = "",
    **intent: Any,
) -> bool:
    """Write what was seen along with `also` and `intent`, unless the lease was lost.

    How long a weight has been in place is remembered from what was observed, never from what was
    asked: a worker that dies just after asking leaves nothing false.
    """
    endpoint = current.claim.row
    with transaction.atomic():
        on_trial = _trial_seen(current)
        if not current.claim.record(next_at=next_at, attempts=0, **on_trial, **intent):
            return False
        if drifted:
            _tell_of_drift(endpoint, drifted)
        changed = bool(on_trial)
        for row in current.rows:
            seen = {**_seen(row, current.facts), **(also or {}).get(row.pk, {})}
            changed |= _write(row, seen)
        if changed:
            _announce(endpoint)
            _wake(endpoint, current.facts.at)
        if next_at is not None and next_at - current.facts.at < SOON:
            wait = max(0.0, (next_at - current.facts.at).total_seconds())
            nudge(KIND, endpoint.pk, after=wait)
    return True


def _drift(current: Pass) -> str:
    """Return what was seen that nobody asked for, one sentence; "" when only the intent is new."""
    seen = current.facts.seen
    if seen.route is None:
        answered = any(row.observed_weight for row in current.rows)
        return "The proxy had forgotten the endpoint." if answered else ""
    asked_since = seen.route.generation != current.claim.row.generation
    return "" if asked_since or seen.intact else "The proxy did something else than was asked."


def _tell_of_drift(endpoint: Endpoint, sentence: str) -> None:
    audit.record(
        actor=ACTOR,
        verb="endpoints.route.put_back",
        target=f"endpoint/{endpoint.public_id}",
        subject=f"{endpoint.name} in {endpoint.environment.slug}",
        after={"generation": endpoint.generation},
        reason=sentence,
    )
    log.warning("endpoint.drifted", endpoint=endpoint.public_id, problem=sentence)


def _trial_seen(current: Pass) -> dict[str, Any]:
    """Return what changes in what is remembered of the trial; nothing while it stays in force."""
    seen = d.traffic.in_force(current.facts)
    kept = trials.to_json(seen) if seen else None
    if kept == _as_kept(current.claim.row.trial_seen):
        return {}
    return {"trial_seen": kept, "trial_seen_since": current.facts.at if kept else None}


def _as_kept(value: Any) -> Any:
    """Return a kept trial in the form of one that was just made: tuples, not lists."""
    trial = trials.from_json(value)
    return trials.to_json(trial) if trial else None


def _wake(endpoint: Endpoint, now: datetime) -> None:
    """Have whoever asked for the trial look soon."""
    if endpoint.wakes:
        kind, row = endpoint.wakes
        wake(kind, row, now=now)


def _seen(row: Revision, facts: d.EndpointFacts) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    weight = facts.seen.route.weight_of(row.number) if facts.seen.route else 0
    if weight != row.observed_weight or (weight and row.observed_weight_since is None):
        seen |= {"observed_weight": weight, "observed_weight_since": facts.at}
    servers = facts.servers.get(row.public_id)
    replicas = [kept(r) for r in servers.replicas] if servers else []
    if replicas != row.observed_replicas:
        meant_to_run = row.state in (*d.ON_ITS_WAY, RevisionState.LIVE)
        ended = _ends(row.observed_replicas, replicas) if meant_to_run else 0
        seen |= {"observed_replicas": replicas, "restarts": row.restarts + ended}
    if row.state == RevisionState.LIVE:
        seen |= _told(servers.problem if servers else None)
    return seen


def _ends(before: Iterable[Mapping[str, Any]], now: Iterable[Mapping[str, Any]]) -> int:
    """Return how many servers that were ready have ended since: their process is another's."""
    processes = {r["index"]: r["pid"] for r in now}
    ready = (r for r in before if r["state"] == ReplicaState.READY)
    return sum(r["index"] in processes and processes[r["index"]] != r["pid"] for r in ready)


def _write(row: Revision, changes: Mapping[str, Any]) -> bool:
    """Write the columns that differ, and return whether there were any."""
    different = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if different:
        Revision.objects.filter(pk=row.pk).update(**different)
        for name, value in different.items():
            setattr(row, name, value)
    return bool(different)


def _told(problem: Problem | None) -> dict[str, Any]:
    if problem is None:
        return {"problem_code": "", "problem": "", "remedy": ""}
    return {
        "problem_code": problem.code[:64],
        "problem": problem.sentence,
        "remedy": problem.remedy,
    }


def _tell(row: Revision, move: RevisionMove, reason: str) -> None:
    audit.record(
        actor=ACTOR,
        verb=f"endpoints.revision.{move}",
        target=f"endpoint/{row.endpoint.public_id}",
        subject=f"{row.endpoint.name} revision {row.number}",
        after={"state": str(row.state)},
        reason=reason,
    )
    log.info("revision.moved", revision=row.public_id, number=row.number, move=str(move))


def _announce(endpoint: Endpoint) -> None:
    announce(f"endpoint/{endpoint.public_id}")
    announce("home")
