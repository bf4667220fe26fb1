"""Asking for approval, and deciding. Each verb is one transaction and one lock on the request.

Whoever decides signs a digest: the one they saw. When it is no longer the one that is asked
about, nothing is recorded and they are told so.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from apps.accounts import selectors as accounts
from apps.accounts.domain import access
from apps.accounts.models import Team
from apps.accounts.selectors import Holder
from apps.approvals import selectors
from apps.approvals.domain import digestset
from apps.approvals.domain.digestset import Change
from apps.approvals.domain.quorum import Kind, Verdict
from apps.approvals.domain.states import REQUEST, RequestMove, RequestState
from apps.approvals.models import ApprovalRequest, Decision, Delegation
from apps.audit import services as audit
from apps.environments.models import Environment
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing

LONGEST_REASON = 4000
MOST_NAMED = 5  # changes in the one sentence that says why a request was voided


@transaction.atomic
def ask(
    *,
    actor: Actor,
    subject: str,
    title: str,
    environment: Environment,
    team: Team,
    seats: Sequence[Mapping[str, Any]],
    content: Mapping[str, Mapping[str, Any]],
    excluded: Collection[int],
    proposed_by: str,
    expires_at: datetime,
    replaces: ApprovalRequest | None = None,
) -> ApprovalRequest:
    """Open a request about exactly these digests.

    Args:
        actor: Who asks; a worker, once every gate has passed.
        subject: What it is about, as the ledger names it.
        title: What a person calls it.
        environment: Where it would happen.
        team: The owner.
        seats: The policy's, with "owner" resolved to a team's slug.
        content: Everything that a yes covers, by name.
        excluded: Keys of people whose yes does not count.
        proposed_by: Who proposed it.
        expires_at: When the question is moot.
        replaces: The request that was voided for this one.
    """
    sealed = digestset.seal(content)
    row = ApprovalRequest.objects.create(
        subject=subject, title=title, environment=environment, team=team,
        seats=[dict(s) for s in seats], content=dict(content), digest_set=dict(sealed.parts),
        digest=sealed.digest, excluded=sorted(set(excluded)),
        proposed_by=proposed_by, expires_at=expires_at, replaces=replaces,
    )  # fmt: skip
    _tell(actor, "approvals.ask", row, after={"digest": row.digest, "seats": len(row.seats)})
    announce("inbox")
    return row


@transaction.atomic
def decide(
    *, actor: Actor, request: str, kind: Kind, digest: str, reason: str = ""
) -> ApprovalRequest:
    """Say yes, ask for changes, or decline; a second decision takes the first one's place.

    Saying again what one has said, about the same digest, changes nothing: a request that is sent
    twice counts once.

    Args:
        actor: A person, or a token of theirs.
        request: The request's public id.
        kind: What is said.
        digest: Of the digest set that the person saw.
        reason: Needed to decline and to ask for changes.

    Raises:
        Denied: The actor is nobody's reviewer here, or proposed it, or made the version.
        Missing: There is no such request.
        Conflict: It has ended, or is about other digests by now.
        Invalid: A reason is missing.
    """
    now = SystemClock().now()
    row = _locked(request)
    person, behalf = _judge(actor, row, now)
    before = row.decisions.filter(person_id=person, taken_back_at=None).first()
    if before is not None and (before.kind, before.digest) == (str(kind), digest):
        return row
    _refuse_ended(row, now)
    _refuse_changed(row, digest)
    _check_reason(kind, reason)
    if before is not None:
        before.taken_back_at = now
        before.save(update_fields=["taken_back_at", "changed_at"])
    Decision.objects.create(
        request=row, person_id=person, on_behalf_of_id=behalf.pk if behalf else None, kind=kind,
        digest=digest, reason=reason.strip()[:LONGEST_REASON],
    )  # fmt: skip
    _tell(
        actor, f"approvals.{_VERBS[kind]}", row, reason=reason,
        after={"digest": digest, **({"on_behalf_of": behalf.username} if behalf else {})},
    )  # fmt: skip
    _settle(actor, row, now)
    _changed(row)
    return row


@transaction.atomic
def take_back(*, actor: Actor, request: str, reason: str = "") -> ApprovalRequest:
    """Take back one's own decision, while nothing has begun by it.

    Raises:
        Missing: There is no such request, or the actor has decided nothing.
        Conflict: The request has ended.
    """
    now = SystemClock().now()
    row = _locked(request)
    _refuse_ended(row, now)
    said = row.decisions.filter(person_id=_key(actor), taken_back_at=None).first()
    if said is None:
        raise Missing("You have decided nothing here.", code="approvals.nothing_said")
    said.taken_back_at = now
    said.save(update_fields=["taken_back_at", "changed_at"])
    _tell(actor, "approvals.take_back", row, reason=reason, before={"kind": said.kind})
    _settle(actor, row, now)
    _changed(row)
    return row


@transaction.atomic
def settle(*, actor: Actor, request: str) -> ApprovalRequest:
    """Hold a request against the roles that its deciders hold now, and return it.

    A yes by somebody who has lost the role since is no yes.
    """
    row = _locked(request)
    if row.state in selectors.IN_FORCE:
        before = row.state
        _settle(actor, row, SystemClock().now())
        if row.state != before:
            _changed(row)
    return row


def void(
    *, actor: Actor, row: ApprovalRequest, content: Mapping[str, Mapping[str, Any]]
) -> list[Change]:
    """End a request because what it asks about is `content` by now, and return what changed.

    Nothing happens when it has ended already.
    """
    found = digestset.changes(row.content, content)
    reason = "; ".join(c.sentence for c in found[:MOST_NAMED]) or "What was asked about changed"
    _end(
        actor, row, RequestMove.VOID, f"{reason}.",
        before={f"{c.part}.{c.name}": c.was for c in found},
        after={f"{c.part}.{c.name}": c.now for c in found},
    )  # fmt: skip
    return found


def withdraw(*, actor: Actor, row: ApprovalRequest, reason: str) -> None:
    """End a request because nobody wants it any more."""
    _end(actor, row, RequestMove.WITHDRAW, reason)


def expire(*, actor: Actor, row: ApprovalRequest) -> None:
    """End a request that nobody has answered in time."""
    _end(actor, row, RequestMove.EXPIRE, "Nobody decided in time.")


@transaction.atomic
def remind(*, actor: Actor, row: ApprovalRequest) -> bool:
    """Note that those it waits for were reminded; return whether that was still to be done."""
    now = SystemClock().now()
    fresh = ApprovalRequest.objects.filter(pk=row.pk, reminded_at=None, state=RequestState.OPEN)
    if not fresh.update(reminded_at=now):
        return False
    _tell(actor, "approvals.remind", row)
    return True


@transaction.atomic
def delegate(
    *, actor: Actor, substitute: str, starts_at: datetime, ends_at: datetime, reason: str = ""
) -> Delegation:
    """Let somebody stand in for the actor's approvals for a time.

    Raises:
        Denied: The actor decides nothing anywhere.
        Missing: There is nobody of that name.
        Invalid: The times make no sense, or it is the actor.
    """
    access.require(actor, "approvals.delegate")
    found = accounts.person(actor, substitute)
    if found.pk == actor.person_id:
        raise Invalid("You cannot stand in for yourself.", field="substitute")
    if ends_at <= starts_at or ends_at <= SystemClock().now():
        raise Invalid(
            f"It would end at {ends_at:%Y-%m-%d %H:%M}, which is not after its start and now.",
            remedy="Choose a later end.",
            field="ends_at",
        )
    row = Delegation.objects.create(
        person_id=_key(actor), substitute=found, starts_at=starts_at, ends_at=ends_at,
        reason=reason[:300],
    )  # fmt: skip
    audit.record(
        actor=actor,
        verb="approvals.delegate",
        target=f"delegation/{row.public_id}",
        subject=f"{actor.name} to {found.username}",
        after={"from": starts_at.isoformat(), "until": ends_at.isoformat()},
        reason=reason,
    )
    announce("inbox")
    return row


@transaction.atomic
def end_delegation(*, actor: Actor, delegation: str, reason: str = "") -> Delegation:
    """Be back early.

    Raises:
        Missing: The actor has no such delegation.
    """
    access.require(actor, "approvals.delegate")
    rows = Delegation.objects.select_for_update(of=("self",)).select_related("substitute")
    row = rows.filter(public_id=delegation, person_id=_key(actor)).first()
    if row is None:
        raise Missing(
            f"You have no delegation {delegation[:20]!r}.", code="approvals.delegation_missing"
        )
    if row.ended_at is None:
        row.ended_at = SystemClock().now()
        row.save(update_fields=["ended_at", "changed_at"])
        audit.record(
            actor=actor,
            verb="approvals.end_delegation",
            target=f"delegation/{row.public_id}",
            subject=f"{actor.name} to {row.substitute.username}",
            reason=reason,
        )
        announce("inbox")
    return row


_VERBS = {Kind.APPROVE: "approve", Kind.CHANGES: "request_changes", Kind.DECLINE: "decline"}


def _locked(public_id: str) -> ApprovalRequest:
    rows = ApprovalRequest.objects.select_for_update(of=("self",), no_key=True)
    row = rows.select_related("environment", "team").filter(public_id=public_id).first()
    if row is None:
        raise Missing(f"There is no request {public_id[:20]!r}.", code="approvals.missing")
    return row


def _judge(actor: Actor, row: ApprovalRequest, now: datetime) -> tuple[int, Holder | None]:
    """Return who decides, and whom they stand in for; refuse whoever may not.

    Somebody's own seat comes first: standing in is for those who could not decide themselves.
    """
    key = _key(actor)
    if actor.verbs is not None:
        access.require(actor, "approvals.decide")  # a token is held to its scopes
    _refuse_excluded(key, row)
    if selectors.may_fill(row, [actor.grants]):
        return key, None
    for holder in selectors.stood_in_for(key, now=now):
        if holder.pk not in row.excluded and selectors.may_fill(row, [holder.grants]):
            return key, holder
    raise Denied(
        f"{actor.name} can fill none of the seats of this release.",
        remedy=f"It needs {_wanted(row)}.",
        code="approvals.no_seat",
    )


def _key(actor: Actor) -> int:
    if actor.person_id is None:
        raise Denied("Only a person decides.", code="approvals.not_a_person")
    return actor.person_id


def _refuse_excluded(person: int, row: ApprovalRequest) -> None:
    if person in row.excluded:
        raise Denied(
            "Whoever proposed a release or made its version does not decide on it.",
            remedy=f"It needs {_wanted(row)}: somebody else.",
            code="approvals.own_work",
        )


def _wanted(row: ApprovalRequest) -> str:
    return " and ".join(selectors.words(seat) for seat in selectors.seats_of(row)) or "nobody"


def _refuse_ended(row: ApprovalRequest, now: datetime) -> None:
    if row.state not in selectors.IN_FORCE or row.expires_at <= now:
        raise Conflict(
            f"This request is {row.state if row.state != RequestState.OPEN else 'expired'}.",
            remedy="Look at the release: a newer request may have taken its place.",
            code="approvals.ended",
        )


def _refuse_changed(row: ApprovalRequest, digest: str) -> None:
    if digest != row.digest:
        raise Conflict(
            f"What you saw was {digest[:19] or 'nothing'}; what is asked about now is "
            f"{row.digest[:19]}.",
            remedy="Look at what changed, and decide again.",
            field="digest",
            code="approvals.changed",
        )


def _check_reason(kind: Kind, reason: str) -> None:
    if kind is not Kind.APPROVE and not reason.strip():
        raise Invalid(
            "A reason is missing.",
            remedy="Say what is missing or wrong, so that the proposer can mend it.",
            field="reason",
            code="approvals.reason_missing",
        )


def _settle(actor: Actor, row: ApprovalRequest, now: datetime) -> None:
    """Move the request to what its decisions come to."""
    verdict = selectors.standing(row).verdict
    granted = row.state == RequestState.GRANTED
    if verdict is Verdict.GRANTED and not granted:
        _move(row, RequestMove.GRANT, now)
        _tell(actor, "approvals.grant", row, after={"digest": row.digest})
    elif verdict is Verdict.DECLINED:
        _move(row, RequestMove.DECLINE, now)
    elif granted and verdict is not Verdict.GRANTED:
        _move(row, RequestMove.REOPEN, now)
        _tell(actor, "approvals.reopen", row, before={"digest": row.digest})


def _end(
    actor: Actor,
    row: ApprovalRequest,
    move: RequestMove,
    reason: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    with transaction.atomic():
        fresh = _locked(row.public_id)
        if fresh.state not in selectors.IN_FORCE:
            return
        fresh.end_reason = reason
        _move(fresh, move, SystemClock().now())
        _tell(
            actor, f"approvals.{move}", fresh, reason=reason, before=dict(before or {}),
            after=dict(after or {}),
        )  # fmt: skip
        _changed(fresh)


def _move(row: ApprovalRequest, move: RequestMove, now: datetime) -> None:
    row.state = REQUEST.after(RequestState(row.state), move)
    if row.state in REQUEST.terminal():
        row.ended_at = now
    row.save(update_fields=["state", "ended_at", "end_reason", "changed_at"])


def _tell(actor: Actor, verb: str, row: ApprovalRequest, **what: Any) -> None:
    audit.record(actor=actor, verb=verb, target=row.subject, subject=row.title, **what)


def _changed(row: ApprovalRequest) -> None:
    announce(row.subject)
    announce("inbox")


def could_decide(row: ApprovalRequest) -> list[Holder]:
    """Return everybody who could fill an empty seat of a request now."""
    seats = selectors.view(row).seats
    return list({h.pk: h for seat in seats for h in seat.could}.values())
