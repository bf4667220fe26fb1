"""What every verb on releases does: find it, refuse what is too late, tell of it."""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments.models import Environment
from apps.registry.models import ModelVersion
from apps.releases import selectors, telling
from apps.releases.domain.states import RELEASE, WAITING, ReleaseMove, ReleaseState
from apps.releases.models import Release
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

KIND = "release"
LIFE = timedelta(days=14)  # a proposal that nobody has decided by then expires
LONGEST_TEXT = 10_000
NUMBERING = 727_301  # the advisory lock under which numbers are given out


def allowed(actor: Actor, verb: str, number: int) -> Release:
    """Return a release on which the actor may do a verb.

    Raises:
        Denied: The actor may not.
        Missing: There is none of that number, or the actor may not see it.
    """
    row = selectors.release(actor, number)
    team, slug = row.version.model.team.slug, row.environment.slug
    access.require(actor, verb, team=team, environment=slug)
    return row


def refuse_moving(row: Release) -> None:
    """Refuse to change what has moved traffic or has ended.

    Raises:
        Conflict: It has.
    """
    if row.state not in WAITING:
        raise Conflict(
            f"R-{row.number} is {row.state.replace('_', ' ')}.",
            remedy="What has moved traffic or has ended stays as it is; propose another release.",
            code="releases.too_late",
        )


def check_reason(reason: str, remedy: str, *, field: str = "reason") -> None:
    """Refuse an empty text where one is needed.

    Raises:
        Invalid: It is empty; `remedy` says what to write.
    """
    if not reason.strip():
        raise Invalid(
            f"The {field} is missing.", remedy=remedy, field=field, code="releases.reason_missing"
        )


def move(row: Release, move: ReleaseMove, now: datetime) -> None:
    """Make one move of a release that is locked; the caller saves it."""
    row.state = RELEASE.after(ReleaseState(row.state), move)
    row.state_since = now
    if row.state in RELEASE.terminal():
        row.ended_at = now


def tell(actor: Actor, verb: str, row: Release, **what: Any) -> None:
    """Write a verb into the ledger."""
    audit.record(
        actor=actor,
        verb=f"releases.{verb}",
        target=f"release/{row.public_id}",
        subject=telling.subject(row),
        **what,
    )


def changed(row: Release) -> None:
    """Tell open pages and the loop that something was meant."""
    for topic in (f"release/{row.public_id}", f"version/{row.version.public_id}", "inbox", "home"):
        announce(topic)
    nudge(KIND, row.pk)


def create(actor: Actor, version: ModelVersion, where: Environment, **columns: Any) -> Release:
    """Make a release, under the next number."""
    now = SystemClock().now()
    return Release.objects.create(
        number=_next_number(), version=version, environment=where, state_since=now,
        proposer_id=actor.person_id, proposed_by=actor.name, expires_at=now + LIFE,
        next_reconcile_at=now, **columns,
    )  # fmt: skip


def _next_number() -> int:
    """Return the next number, without gaps: one proposal at a time gets one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBERING])
    newest = Release.objects.aggregate(newest=Max("number"))["newest"]
    return (newest or 0) + 1
