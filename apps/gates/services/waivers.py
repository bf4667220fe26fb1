"""Waivers: a recorded, expiring decision to pass a gate without its evidence."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.gates import selectors
from apps.gates.domain.policy import parse
from apps.gates.domain.sent import words
from apps.gates.domain.states import GATE, GateMove, GateState, moves
from apps.gates.listing import KIND
from apps.gates.models import Checklist, GateResult, Waiver
from apps.gates.services.evidence import refuse_closed, result_for_update
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid


@transaction.atomic
def grant_waiver(
    *, actor: Actor, checklist: str, gate: str, reason: str, expires_at: datetime
) -> Waiver:
    """Let a checklist pass one gate without its evidence, for a time.

    Args:
        actor: Who answers for it; neither the proposer nor the version's author.
        checklist: Its public id.
        gate: A gate that it lists and that is not passed.
        reason: Why, for everybody to read.
        expires_at: Until when; at most as long as the policy allows.

    Raises:
        Missing: There is no such checklist, or it does not list the gate.
        Denied: The actor may not, or would excuse their own work.
        Conflict: The gate is passed, waived already, or the checklist is closed.
        Invalid: There is no reason, or the time is past or too long.
    """
    found = selectors.checklist(actor, checklist)
    access.require(
        actor,
        "gates.waive",
        team=found.version.model.team.slug,
        environment=found.environment.slug,
    )
    _refuse_own_work(actor, found)
    now = SystemClock().now()
    clean = _reason(reason)
    with commanding(Checklist, found.pk, now=now) as row:
        refuse_closed(row)
        _refuse_length(row, expires_at, now)
        result = result_for_update(row, gate)
        _refuse_needless(result, now)
        waiver = _replace(result, row, actor, clean, expires_at, now)
        _tell(actor, "gates.waive", waiver, row, reason=clean, after={
            "gate": gate, "until": expires_at.isoformat(), "state": result.state,
        })  # fmt: skip
    return waiver


@transaction.atomic
def withdraw_waiver(*, actor: Actor, waiver: str, reason: str = "") -> Waiver:
    """Take a waiver back; the gate is what it was without it.

    Raises:
        Missing: There is no such waiver.
        Denied: The actor may not.
    """
    found = selectors.waiver(actor, waiver)
    access.require(
        actor,
        "gates.waive",
        team=found.model.team.slug,
        environment=found.checklist.environment.slug,
    )
    now = SystemClock().now()
    with commanding(Checklist, found.checklist_id, now=now) as row:
        fresh = Waiver.objects.select_for_update(of=("self",)).get(pk=found.pk)
        if fresh.withdrawn_at is not None or fresh.lapsed_at is not None:
            return found
        fresh.withdrawn_at, fresh.withdrawn_by = now, actor.name
        fresh.save(update_fields=["withdrawn_at", "withdrawn_by", "changed_at"])
        for result in GateResult.objects.filter(waiver=fresh).select_related("waiver"):
            result.waiver = None
            _settle(result, now)
        _tell(actor, "gates.waive.withdraw", fresh, row, reason=words(reason), before={
            "gate": fresh.gate, "until": fresh.expires_at.isoformat(),
        })  # fmt: skip
    return selectors.waiver(actor, waiver)


def _replace(
    result: GateResult,
    checklist: Checklist,
    actor: Actor,
    reason: str,
    expires_at: datetime,
    now: datetime,
) -> Waiver:
    """Put a new waiver in the place of one that has run out."""
    Waiver.objects.filter(
        checklist=checklist, gate=result.gate, withdrawn_at=None, lapsed_at=None
    ).update(lapsed_at=now)
    waiver = Waiver.objects.create(
        gate=result.gate,
        model_id=checklist.version.model_id,
        checklist=checklist,
        reason=reason,
        granted_by_id=_person(actor),
        expires_at=expires_at,
    )
    result.waiver = waiver
    _settle(result, now)
    return waiver


def _settle(result: GateResult, now: datetime) -> None:
    """Bring a result's state up to date, and look at the gate soon."""
    old = GateState(result.state)
    for move in moves(old, selectors.state_of(result, now)):
        result.state = GATE.after(GateState(result.state), GateMove(move))
    if result.state != old:
        result.state_since = now
    result.save(update_fields=["state", "state_since", "waiver"])


def _refuse_own_work(actor: Actor, checklist: Checklist) -> None:
    person = _person(actor)
    author = checklist.version.registered_by.split("/", 1)[0]
    own = {
        "proposed this release": person == checklist.proposer_id
        or _name(actor) == checklist.proposed_by.split("/", 1)[0],
        "registered this version": _name(actor) == author,
    }
    for what, is_so in own.items():
        if is_so:
            raise Denied(
                f"{actor.name} {what}, and nobody waives a gate for their own work.",
                remedy="Ask another reviewer of the team.",
                code="gates.waive_own_work",
            )


def _refuse_length(checklist: Checklist, expires_at: datetime, now: datetime) -> None:
    policy = selectors.policy_in_force(checklist.environment, checklist.version.model.risk_tier)
    longest = parse(policy.document).waivers.longest
    if expires_at.tzinfo is None or expires_at <= now:
        raise Invalid(
            "A waiver ends in the future.",
            remedy="Write when, like 2026-12-01T00:00:00Z.",
            field="expires_at",
            code="gates.waiver_past",
        )
    if longest <= timedelta(0):
        raise Conflict(
            f"The policy of {checklist.environment.slug} allows no waivers.",
            remedy="Meet the gate, or have an admin change the policy.",
            code="gates.no_waivers",
        )
    if expires_at > now + longest + timedelta(minutes=1):
        raise Invalid(
            f"A waiver in {checklist.environment.slug} holds at most {longest.days} days.",
            remedy=f"Choose a time before {now + longest:%Y-%m-%d %H:%M} UTC.",
            field="expires_at",
            code="gates.waiver_too_long",
        )


def _refuse_needless(result: GateResult, now: datetime) -> None:
    state = selectors.state_of(result, now)
    if state is GateState.PASSED:
        raise Conflict(f"{result.gate} is passed; it needs no waiver.", code="gates.waive_passed")
    if state is GateState.WAIVED:
        raise Conflict(
            f"{result.gate} is waived already.",
            remedy="Withdraw that waiver first.",
            code="gates.waived_already",
        )


def _reason(told: str) -> str:
    clean = words(told)
    if not clean:
        raise Invalid(
            "A waiver needs a reason.",
            remedy="Say why this may ship without the evidence, and what makes up for it.",
            field="reason",
            code="gates.waiver_reason",
        )
    return clean[:5000]


def _person(actor: Actor) -> int:
    if actor.person_id is None:
        raise Denied(
            f"{actor.name} is nobody who could answer for a waiver.",
            remedy="Have a person grant it.",
            code="gates.waive_nobody",
        )
    return actor.person_id


def _name(actor: Actor) -> str:
    """Return the person's part of an actor's name: a token is "ada/ci"."""
    return actor.name.split("/", 1)[0]


def _tell(actor: Actor, verb: str, waiver: Waiver, checklist: Checklist, **what: Any) -> None:
    version = checklist.version
    audit.record(
        actor=actor,
        verb=verb,
        target=f"waiver/{waiver.public_id}",
        subject=f"{waiver.gate}: {version.model.name} v{version.number} in "
        f"{checklist.environment.slug}",
        **what,
    )
    announce(f"checklist/{checklist.public_id}")
    announce(f"version/{version.public_id}")
    nudge(KIND, checklist.pk)
