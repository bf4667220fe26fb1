"""What a rollout tells: its log in plain sentences, the ledger, open pages, and people."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from apps.audit import services as audit
from apps.notifications.services import notify
from apps.rollouts.domain.decide import PauseKind
from apps.rollouts.models import Rollout, RolloutEvent
from controlplane.db.live import announce_all
from controlplane.kernel.actor import Actor


class Kind(StrEnum):
    """What an event is about; a page gives each its mark."""

    BEGUN = "begun"
    FITS = "fits"
    WAITS = "waits"
    READY = "ready"
    SEEN = "seen"  # a step was seen in force
    DRIFTED = "drifted"  # what is in force is not what was asked
    ADVANCED = "advanced"
    REALLOCATED = "reallocated"
    PAUSED = "paused"
    RESUMED = "resumed"
    SKIPPED = "skipped"
    PROMOTED = "promoted"
    SETTLED = "settled"
    ABORTED = "aborted"
    RESTORED = "restored"
    CANCELLED = "cancelled"
    FAULT = "fault"  # of a rehearsal: injected on purpose


def log(
    row: Rollout,
    kind: Kind,
    sentence: str,
    *,
    at: datetime,
    actor: str,
    reason: str = "",
    **facts: Any,
) -> None:
    """Add one sentence to the rollout's log."""
    RolloutEvent.objects.create(
        rollout=row, at=at, kind=kind, sentence=sentence, actor=actor, reason=reason, facts=facts
    )


def tell(
    actor: Actor,
    verb: str,
    row: Rollout,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Write an entry of the ledger."""
    audit.record(
        actor=actor,
        verb=f"rollouts.{verb}",
        target=f"rollout/{row.public_id}",
        subject=subject(row),
        before=dict(before or {}),
        after=dict(after or {}),
        reason=reason,
    )


def changed(*rows: Rollout) -> None:
    """Have open pages look again."""
    if rows:
        announce_all([*(f"rollout/{row.public_id}" for row in rows), "rollouts", "home"])


def paused(row: Rollout, kind: PauseKind, reason: str) -> None:
    """Ask the owning team to decide; nobody is asked about what a person did."""
    if kind is PauseKind.PERSON:
        return
    notify(
        kind="rollout.paused",
        title=f"{subject(row)} waits for you",
        body=reason,
        link=link(row),
        teams=[row.endpoint.model.team_id],
        dedupe=f"rollout/{row.public_id}/paused/{row.step}/{kind}",
        urgent=kind is PauseKind.ERRORED,
    )


def aborted(row: Rollout, reason: str) -> None:
    """Tell the owning team and its on-call that everything goes back."""
    notify(
        kind="rollout.aborted",
        title=f"{subject(row)} goes back",
        body=reason,
        link=link(row),
        teams=[row.endpoint.model.team_id],
        on_call_of=row.endpoint.model.team_id,
        dedupe=alarm(row),
        urgent=True,
    )


def subject(row: Rollout) -> str:
    """Return what a person calls a rollout: "card-fraud v42 in production"."""
    number = row.candidate.version.number
    name = f"{row.endpoint.name} v{number} in {row.endpoint.environment.slug}"
    return f"Rehearsal of {name}" if row.rehearsal else name


def alarm(row: Rollout) -> str:
    """Return what the words that a rollout goes back are told apart by."""
    return f"rollout/{row.public_id}/aborted"


def link(row: Rollout) -> str:
    """Return the path of a rollout's page."""
    return f"/rollouts/{row.public_id}"
