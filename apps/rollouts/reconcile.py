"""One pass over a rollout: look, decide, make one move.

1. Read the rows: the candidate, the stable revision, what the endpoint was asked and is seen to
   do, what the judge says. Before the start, ask how much room there is.
2. `decide` names one action, or what is waited for.
3. Do it in one transaction, if the lease still holds: the move, the endpoint's new intent, the
   log, the ledger, and the words to whom it concerns.

A pass touches nothing outside the database but the question for room, and a rehearsal's requests
that are meant to fail: the endpoint's own loop moves traffic, and the analysis's own loop looks at
it.

Of many rollouts that are due at once, most just go on waiting: those are read and written
together.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction

from apps.endpoints.ports import Predictor
from apps.rollouts import drilling, moves, seeing, telling
from apps.rollouts.domain import decide as d
from apps.rollouts.domain import rehearsing as r
from apps.rollouts.domain.states import ROLLOUT, RolloutState
from apps.rollouts.domain.steps import Step
from apps.rollouts.models import Rollout
from apps.rollouts.ports import Capacity
from apps.rollouts.seeing import Sight
from apps.rollouts.telling import Kind
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import Claim, Record, record_together
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import ControlPlaneError, Permanent

log = structlog.get_logger(__name__)

KIND = "rollout"
ACTOR = worker("rollouts")
PARKED = timedelta(seconds=60)
Columns = dict[str, Any]


@dataclass(frozen=True)
class RolloutReconciler:
    """Drives one rollout.

    Attributes:
        capacity: Knows what is free.
        predictor: Asks a rehearsal's candidate; None where nothing is rehearsed.
    """

    capacity: Capacity
    predictor: Predictor | None = None

    def __call__(self, claim: Claim[Rollout], now: datetime) -> None:
        """Run one pass."""
        sight = seeing.look(claim.row.pk, self.capacity, now)
        action = _decide(sight)
        if isinstance(action, r.Ask):
            self._ask(claim, sight, action.count, now)
            return
        with transaction.atomic():
            # The lease first: whoever lost it must not even begin.
            if not _held(claim):
                return
            noticed = _notice(sight)
            _do(claim, sight, action, noticed)

    def together(
        self, claims: Sequence[Claim[Rollout]], now: datetime
    ) -> Sequence[Claim[Rollout]]:
        """Write at once for those that just go on waiting; return the other claims."""
        sights = seeing.look_at_many([claim.row.pk for claim in claims], now)
        by_key = {sight.row.pk: sight for sight in sights}
        waiting, other = [], []
        for claim in claims:
            wait = _just_a_wait(by_key.get(claim.row.pk))
            if wait is None:
                other.append(claim)
            else:
                waiting.append(Record(claim, wait.until, {"attempts": 0, "waits_for": wait.why}))
        with transaction.atomic():
            written = record_together(waiting)
            telling.changed(*(
                record.claim.row
                for record in written
                if record.claim.row.waits_for != record.changes["waits_for"]
            ))  # fmt: skip
        return other

    def _ask(self, claim: Claim[Rollout], sight: Sight, count: int, now: datetime) -> None:
        """Send requests that fail; a worker that dies here sends some of them again."""
        if self.predictor is None:
            raise Permanent("Nothing asks a rehearsal's candidate here.", code="rollout.no_caller")
        asked = drilling.ask(self.predictor, sight.row, count, now=now)
        drill = drilling.remembered(sight.row, asked)
        why = f"The alarm is waited for: {drill['failed']} of {drill['sent']} requests failed."
        claim.record(next_at=now + r.EVERY, attempts=0, drill=drill, waits_for=why)
        telling.changed(sight.row)

    def park(self, claim: Claim[Rollout], error: ControlPlaneError, now: datetime) -> None:
        """Say what is in the way, and look again later."""
        claim.record(next_at=now + PARKED, attempts=0, waits_for=error.sentence)
        telling.changed(claim.row)


def _decide(sight: Sight) -> r.Action:
    if sight.row.rehearsal:
        drill = drilling.of(sight.row)
        return r.decide(sight.position, sight.steps, sight.seen, drill)
    return d.decide(sight.position, sight.steps, sight.seen)


def _just_a_wait(sight: Sight | None) -> d.Wait | None:
    """Return the action where it is to wait on, and nothing is noticed; None otherwise."""
    if sight is None or _step_first_seen(sight) is not None:
        return None
    action = _decide(sight)
    return action if isinstance(action, d.Wait) and action.fit is None else None


def _held(claim: Claim[Rollout]) -> bool:
    rows = Rollout.objects.select_for_update(no_key=True)
    return rows.filter(pk=claim.row.pk, lease_token=claim.token).exists()


def _do(claim: Claim[Rollout], sight: Sight, action: r.Action, noticed: Columns) -> None:
    row, now = sight.row, sight.seen.at
    match action:
        case d.Rest():
            claim.record(next_at=None, attempts=0)
        case d.Wait(until, why, fit):
            columns = noticed | {"waits_for": why} | ({"fit": moves.kept_fit(fit)} if fit else {})
            changed = any(getattr(row, name) != value for name, value in columns.items())
            claim.record(next_at=until, attempts=0, **columns)
            if changed:
                telling.changed(row)
        case d.Direct():
            moves.direct(row, step=row.step, state=RolloutState(row.state), now=now)
            claim.record(next_at=now + d.SOON, attempts=0, **noticed)
        case _:
            _move(claim, sight, action, noticed)


def _move(claim: Claim[Rollout], sight: Sight, action: r.Action, noticed: Columns) -> None:
    row, now = sight.row, sight.seen.at
    columns = noticed | _columns(row, action, now)
    ended = columns.get("state") in ROLLOUT.terminal()
    claim.record(next_at=None if ended else now, attempts=0, **columns)
    telling.changed(row)
    log.info("rollout.moved", rollout=row.public_id, action=type(action).__name__)
    if not ended:
        nudge(KIND, row.pk)


def _columns(row: Rollout, action: r.Action, now: datetime) -> Columns:
    """Make the move, and return the columns that it changes."""
    match action:
        case d.Start(fit):
            return moves.start(row, fit, actor=ACTOR, now=now)
        case d.Advance(index, reason):
            return moves.advance(row, index, reason, actor=ACTOR, now=now)
        case d.Reallocate(split):
            return moves.reallocate(row, split, actor=ACTOR, now=now)
        case r.Break():
            return moves.inject_fault(row, actor=ACTOR, now=now)
        case d.Pause(kind, reason):
            return moves.pause(row, kind, reason, actor=ACTOR, now=now)
        case d.Resume(reason):
            return moves.resume(row, reason, actor=ACTOR, now=now)
        case _:
            return _toward_an_end(row, action, now)


def _toward_an_end(row: Rollout, action: r.Action, now: datetime) -> Columns:
    match action:
        case d.Cancel(reason):
            return moves.cancel(row, reason, actor=ACTOR, now=now)
        case d.Promote(reason):
            return moves.promote(row, reason, actor=ACTOR, now=now)
        case d.Settle():
            return moves.settle(row, actor=ACTOR, now=now)
        case d.Abort(reason):
            return moves.abort(row, reason, actor=ACTOR, now=now)
        case d.Restore():
            return moves.restore(row, actor=ACTOR, now=now)
        case _:
            raise AssertionError(f"{action} is no move")


def _notice(sight: Sight) -> Columns:
    """Log what is seen for the first time, and return the columns that remember it."""
    row, seen = sight.row, sight.seen
    step = _step_first_seen(sight)
    if step is None:
        return {}
    telling.log(
        row, Kind.SEEN, f"Seen in force: “{step.name}”.", at=seen.in_force_since or seen.at,
        actor=ACTOR.name,
        trial=asdict(seen.wanted),
    )  # fmt: skip
    return {"step_seen_at": seen.in_force_since}


def _step_first_seen(sight: Sight) -> Step | None:
    """Return the present step where it is seen in force for the first time."""
    row, seen = sight.row, sight.seen
    in_force = seen.in_force == seen.wanted and seen.in_force_since is not None
    # One that was paused before it had anything is given nothing: that is no step.
    climbs = sight.position.state is RolloutState.PROGRESSING
    if not in_force or not climbs or row.step_seen_at is not None:
        return None
    return sight.steps[row.step] if row.step < len(sight.steps) else None
