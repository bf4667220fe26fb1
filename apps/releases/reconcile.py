"""One pass over a release: look, decide, take one step.

1. `Standing` reads what its children have come to; nothing outside the database is asked.
2. `journey.decide` names one step.
3. The step is taken in one transaction, if the lease still holds: the release's own move, the
   child that it opens or ends, the ledger entry, and the words to whom it concerns.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from apps.accounts import selectors as accounts
from apps.approvals import selectors as asked
from apps.approvals import services as approvals
from apps.approvals.models import ApprovalRequest
from apps.audit import services as audit
from apps.gates import services as gates
from apps.registry import services as registry
from apps.releases import authorizing, standing, telling
from apps.releases.domain.journey import MOVES, Step, decide
from apps.releases.domain.states import RELEASE, WAITING, ReleaseMove, ReleaseState
from apps.releases.models import Release
from apps.releases.selectors import WHOLE
from apps.releases.standing import Standing
from apps.rollouts import services as rollouts
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import Claim
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import Conflict, ControlPlaneError

KIND = "release"
ACTOR = worker("releases")
LOOK_AGAIN = timedelta(seconds=1)
LOOK_AGAIN_WHEN_SLOW = timedelta(seconds=5)  # for what only a person or the time can change
PARKED = timedelta(seconds=60)
SLOW = (ReleaseState.AWAITING_APPROVAL, ReleaseState.AUTHORIZED)
Columns = dict[str, Any]


class ReleaseReconciler:
    """Drives one release."""

    def __call__(self, claim: Claim[Release], now: datetime) -> None:
        """Run one pass."""
        row = Release.objects.select_related(*WHOLE).get(pk=claim.row.pk)
        _hold_to_roles(row)
        at = Standing(row, now)
        step = decide(at.facts)
        if step is Step.REST:
            claim.record(next_at=None, attempts=0)
        elif step is Step.WAIT:
            _wait(claim, at)
        else:
            _take(claim, at, step)

    def park(self, claim: Claim[Release], error: ControlPlaneError, now: datetime) -> None:
        """Say what is in the way, and look again later."""
        claim.record(next_at=now + PARKED, attempts=0, problem=error.sentence, remedy=error.remedy)
        announce(f"release/{claim.row.public_id}")


def _hold_to_roles(row: Release) -> None:
    """A yes by somebody who has lost the role since is no yes."""
    if row.request is not None and row.request.state in asked.IN_FORCE:
        row.request = approvals.settle(actor=ACTOR, request=row.request.public_id)


def _wait(claim: Claim[Release], at: Standing) -> None:
    if at.row.state == ReleaseState.AWAITING_APPROVAL:
        _remind(at)
    pause = LOOK_AGAIN_WHEN_SLOW if at.row.state in SLOW else LOOK_AGAIN
    claim.record(next_at=at.now + pause, attempts=0)


def _remind(at: Standing) -> None:
    request = at.row.request
    if request is None or request.reminded_at is not None:
        return
    if at.now < request.created_at + at.rules.approvals.remind_after:
        return
    with transaction.atomic():
        if approvals.remind(actor=ACTOR, row=request):
            telling.waits_again(at.row, request)


def _take(claim: Claim[Release], at: Standing, step: Step) -> None:
    """Take one step, whole or not at all."""
    try:
        with transaction.atomic():
            # The lease first: whoever lost it must not even begin.
            if not _held(claim):
                return
            columns = STEPS[step](at)
            _store(claim, at, step, columns)
    except Conflict as error:
        # What was read a moment ago is so no more (another rollout began, a bundle changed).
        claim.record(
            next_at=at.now + LOOK_AGAIN_WHEN_SLOW, problem=error.sentence, remedy=error.remedy
        )


def _held(claim: Claim[Release]) -> bool:
    rows = Release.objects.select_for_update(no_key=True)
    return rows.filter(pk=claim.row.pk, lease_token=claim.token).exists()


def _store(claim: Claim[Release], at: Standing, step: Step, columns: Columns) -> None:
    row = at.row
    before = ReleaseState(row.state)
    move = MOVES.get(step)
    after = RELEASE.after(before, move) if move else before
    ended = after in RELEASE.terminal()
    if after is not before:
        columns |= {"state": after, "state_since": at.now}
    if ended:
        columns |= {"ended_at": at.now}
    claim.record(
        next_at=None if ended or after is ReleaseState.LIVE else at.now,
        attempts=0, **{"problem": "", "remedy": ""} | columns,
    )  # fmt: skip
    if move is not None and after is not before:
        _tell(row, move, before, after, columns)
    for topic in (f"release/{row.public_id}", f"version/{row.version.public_id}", "inbox", "home"):
        announce(topic)
    if not ended:
        nudge(KIND, row.pk)


def _tell(
    row: Release, move: ReleaseMove, before: ReleaseState, after: ReleaseState, columns: Columns
) -> None:
    audit.record(
        actor=ACTOR,
        verb=f"releases.{move.name.lower()}",
        target=f"release/{row.public_id}",
        subject=telling.subject(row),
        before={"state": str(before)},
        after={
            "state": str(after),
            **({"digest": columns["digest"]} if "digest" in columns else {}),
        },
        reason=str(columns.get("end_reason", "")),
    )
    telling.moved(row, after, reason=str(columns.get("end_reason", "")))


def _choose_variant(at: Standing) -> Columns:
    chosen = standing.choose_variant(at.row)
    runtime = at.row.runtime or next(iter(chosen.runtimes), "")
    return {"variant": chosen, "variant_kind": chosen.kind, "runtime": runtime}


def _wait_for_build(at: Standing) -> Columns:
    return {}


def _open_checklist(at: Standing) -> Columns:
    opened = gates.open_checklist(
        actor=ACTOR, version=at.row.version, variant=at.variant,
        environment=at.row.environment, configuration=standing.configuration(at.row),
        proposer_id=at.row.proposer_id,
    )  # fmt: skip
    return {"checklist": opened}


def _ask(at: Standing) -> Columns:
    """Open a request about what would be shipped now, unless one is in force."""
    last = at.row.request
    if last is not None and last.state in asked.IN_FORCE:
        return {}
    request = approvals.ask(
        actor=ACTOR,
        subject=f"release/{at.row.public_id}",
        title=telling.subject(at.row),
        environment=at.row.environment,
        team=at.row.version.model.team,
        seats=_seats(at),
        content=at.seal.content,
        excluded=_excluded(at.row),
        proposed_by=at.row.proposed_by,
        expires_at=at.now + at.rules.approvals.expires_after,
        replaces=last,
    )
    telling.waits(at.row, request)
    return {"request": request}


def _seats(at: Standing) -> list[dict[str, Any]]:
    owner = at.row.version.model.team.slug
    return [
        {
            "title": seat.title,
            "roles": [str(role) for role in seat.roles],
            "team": owner if seat.team == "owner" else seat.team,
        }
        for seat in at.rules.approvals.seats
    ]


def _excluded(row: Release) -> list[int]:
    """Return the proposer, and whoever made the version: their own work."""
    author = accounts.key_behind(row.version.registered_by)
    return sorted({key for key in (row.proposer_id, author) if key is not None})


def _void(at: Standing) -> Columns:
    if at.row.request is not None:
        changes = approvals.void(actor=ACTOR, row=at.row.request, content=at.seal.content)
        telling.voided(at.row, changes)
    return {"digest": "", "digest_set": {}}


def _back(at: Standing) -> Columns:
    return {"digest": "", "digest_set": {}}


def _authorize(at: Standing) -> Columns:
    return {"digest": at.seal.digest, "digest_set": dict(at.seal.parts)}


def _start(at: Standing) -> Columns:
    return {"rollout": authorizing.start_rollout(at, actor=ACTOR)}


def _make_way(at: Standing) -> Columns:
    """End the rollout that stands in the way; this one begins once that has gone back."""
    if at.busy is not None:
        reason = f"R-{at.row.number} comes after it."
        rollouts.make_way(actor=ACTOR, rollout=at.busy, reason=reason)
    return {}


def _go_live(at: Standing) -> Columns:
    """Note that it is live, and let the environment's alias follow."""
    row = at.row
    if row.environment.alias:
        registry.follow_live(
            actor=ACTOR, model=row.version.model.name, alias=row.environment.alias,
            number=row.version.number, reason=f"R-{row.number} is live in {row.environment.slug}",
        )  # fmt: skip
    _close(at)
    for older in Release.objects.filter(
        version__model=row.version.model_id, environment=row.environment_id, number__lt=row.number
    ).filter(state__in=[ReleaseState.LIVE, *WAITING]):
        Release.objects.filter(pk=older.pk).update(next_reconcile_at=at.now)
        nudge(KIND, older.pk)
    return {"live_at": at.now}


def _rolled_back(at: Standing) -> Columns:
    _close(at)
    if at.row.state == ReleaseState.LIVE:
        return {"end_reason": "A later release went back to what ran before."}
    rollout = at.row.rollout
    words = rollout.reason if rollout and rollout.reason else "Its candidate never took traffic."
    return {"end_reason": words}


def _decline(at: Standing) -> Columns:
    _close(at)
    return {"end_reason": _declined_because(at.row.request)}


def _expire(at: Standing) -> Columns:
    _end_request(at, "The release expired.")
    return {"end_reason": "Nobody decided in time."}


def _supersede(at: Standing) -> Columns:
    _end_request(at, "A newer release took its place.")
    return {"end_reason": "A newer release took its place."}


def _end_request(at: Standing, reason: str) -> None:
    if at.row.request is not None:
        approvals.withdraw(actor=ACTOR, row=at.row.request, reason=reason)
    _close(at)


def _close(at: Standing) -> None:
    if at.row.checklist is not None and at.row.checklist.closed_at is None:
        gates.close_checklist(actor=ACTOR, checklist=at.row.checklist)


def _declined_because(request: ApprovalRequest | None) -> str:
    said = asked.in_force(request).filter(kind="decline").first() if request else None
    return f"{said.person.username}: {said.reason}" if said else "It was declined."


STEPS: dict[Step, Callable[[Standing], Columns]] = {
    Step.CHOOSE_VARIANT: _choose_variant,
    Step.WAIT_FOR_BUILD: _wait_for_build,
    Step.OPEN_CHECKLIST: _open_checklist,
    Step.ASK: _ask,
    Step.VOID: _void,
    Step.BACK_TO_CHECKS: _back,
    Step.BACK_TO_APPROVAL: _ask,
    Step.AUTHORIZE: _authorize,
    Step.START: _start,
    Step.MAKE_WAY: _make_way,
    Step.GO_LIVE: _go_live,
    Step.ROLLED_BACK: _rolled_back,
    Step.DECLINE: _decline,
    Step.EXPIRE: _expire,
    Step.SUPERSEDE: _supersede,
}
