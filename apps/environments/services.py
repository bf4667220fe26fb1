"""What admins may change about environments, and operators about when they are open."""

import re
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import available_timezones

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments import selectors
from apps.environments.domain import ical
from apps.environments.domain.calendar import Kind, Listed, Once, Weekly
from apps.environments.models import AliasDrift, Calendar, Environment
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

EDITABLE = (
    "title", "protected", "default_replicas", "max_replicas", "alias", "alias_drift", "time_zone",
)  # fmt: skip
ALIAS = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
LIKE_A_NUMBER = re.compile(r"v?\d+|latest")  # what the MLflow client reads as a version's number
LONGEST_AHEAD = timedelta(days=5 * 366)
MOST_IN_FORCE = 200


@transaction.atomic
def edit(*, actor: Actor, slug: str, reason: str = "", **changes: Any) -> Environment:
    """Change an environment's title, protection, limits, alias or clock.

    Raises:
        Denied: The actor may not.
        Missing: There is no such environment.
        Invalid: A value makes no sense, or a name is not one of `EDITABLE`.
        Conflict: Another environment has the alias; the code is `environments.alias_taken`.
    """
    access.require(actor, "environments.edit", team=access.EVERYWHERE, environment=slug)
    selectors.by_slug(slug)
    environment = Environment.objects.select_for_update().get(slug=slug)
    unknown = sorted(set(changes) - set(EDITABLE))
    if unknown:
        raise Invalid(f"{unknown[0]} cannot be changed.", field=unknown[0])
    before = {name: getattr(environment, name) for name in changes}
    for name, value in changes.items():
        setattr(environment, name, value)
    if not 1 <= environment.default_replicas <= environment.max_replicas:
        raise Invalid(
            "default_replicas must be at least 1 and at most max_replicas.",
            field="default_replicas",
            code="environments.bad_replicas",
        )
    _check_alias(environment)
    if environment.time_zone not in available_timezones():
        raise Invalid(
            f"{environment.time_zone[:60]!r} is not a time zone.",
            remedy="Name one as the IANA does: Europe/Berlin, America/New_York, UTC.",
            field="time_zone",
            code="environments.bad_time_zone",
        )
    environment.save(update_fields=[*changes, "changed_at"])
    audit.record(
        actor=actor,
        verb="environments.edit",
        target=f"environment/{slug}",
        subject=slug,
        before=before,
        after=dict(changes),
        reason=reason,
    )
    return environment


@transaction.atomic
def declare(
    *,
    actor: Actor,
    environment: str,
    kind: Kind,
    title: str,
    when: Once | Weekly | Listed,
    reason: str = "",
) -> Calendar:
    """Freeze an environment, or open a window in which alone it accepts rollouts.

    A rollout that has begun goes on; one that has not waits.

    Args:
        actor: Who declares it. It concerns every team, so a grant limited to one is not enough.
        environment: Its slug.
        kind: A freeze or a window.
        title: What people will call it; the events of a calendar have titles of their own.
        when: Once, every week, or by an iCalendar file.
        reason: Why; a freeze that is not a calendar of holidays says so.

    Raises:
        Denied: The actor may not.
        Missing: There is no such environment.
        Invalid: Something about it makes no sense; a bad calendar names the line.
        Conflict: There are too many in force already.
    """
    access.require(actor, "environments.freeze", team=access.EVERYWHERE, environment=environment)
    place = selectors.by_slug(environment)
    title, reason = title.strip(), reason.strip()
    _check_words(kind, title, reason, when)
    columns = _columns(kind, when, now=SystemClock().now())
    if Calendar.objects.filter(environment=place, ended_at=None).count() >= MOST_IN_FORCE:
        raise Conflict(
            f"{environment} has {MOST_IN_FORCE} freezes and windows in force.",
            remedy="End those that are over.",
            code="environments.too_many_calendars",
        )
    row = Calendar.objects.create(
        environment=place,
        kind=kind,
        title=title,
        reason=reason,
        created_by=actor.name,
        **columns,
    )
    _record(actor, f"environments.{kind}", row, before={}, after=_said(row), reason=reason)
    return row


@transaction.atomic
def end(*, actor: Actor, environment: str, kind: Kind, public_id: str, reason: str) -> Calendar:
    """End a freeze or a window now, before its time; it stays readable.

    Raises:
        Denied: The actor may not.
        Missing: There is no such environment, freeze or window.
        Invalid: No reason is given.
        Conflict: It was ended already.
    """
    access.require(actor, "environments.freeze", team=access.EVERYWHERE, environment=environment)
    place = selectors.by_slug(environment)
    row = selectors.calendar_of(place, kind, public_id, lock=True)
    if not reason.strip():
        raise Invalid(
            f"Ending a {kind} early needs a reason.",
            remedy="Say why in a few words; the ledger keeps it.",
            field="reason",
            code="environments.reason_missing",
        )
    if row.ended_at is not None:
        raise Conflict(
            f"{row.title} was ended by {row.ended_by} already.",
            code="environments.calendar_ended",
        )
    row.ended_at = SystemClock().now()
    row.ended_by, row.ended_because = actor.name, reason.strip()[:500]
    row.save(update_fields=["ended_at", "ended_by", "ended_because", "changed_at"])
    ended = {"ended": True}
    _record(actor, f"environments.{kind}.end", row, before={}, after=ended, reason=reason.strip())
    return row


def _check_alias(environment: Environment) -> None:
    alias = environment.alias
    if environment.alias_drift not in AliasDrift.values:
        raise Invalid(
            f"{environment.alias_drift[:40]!r} is no way to treat an alias that was moved.",
            remedy=f"Use one of {', '.join(AliasDrift.values)}.",
            field="alias_drift",
            code="environments.bad_alias_drift",
        )
    if not alias:
        return
    if not ALIAS.fullmatch(alias) or LIKE_A_NUMBER.fullmatch(alias):
        raise Invalid(
            f"{alias[:100]!r} cannot name what is live in {environment.slug}.",
            remedy="Use small letters, digits, '_' or '-', beginning with a letter or digit, "
            "and nothing that reads as a version's number.",
            field="alias",
            code="environments.bad_alias",
        )
    others = Environment.objects.filter(alias=alias).exclude(pk=environment.pk)
    if other := others.first():
        raise Conflict(
            f"The alias {alias} follows what is live in {other.slug} already.",
            remedy="Choose another name.",
            field="alias",
            code="environments.alias_taken",
        )


def _check_words(kind: Kind, title: str, reason: str, when: Once | Weekly | Listed) -> None:
    if not title or len(title) > 120:
        raise _bad("title", "A title has 1 to 120 characters.", "Say what people will call it.")
    if len(reason) > 500:
        raise _bad("reason", f"The reason has {len(reason)} characters; at most 500 are kept.", "")
    if kind is Kind.FREEZE and not reason and not isinstance(when, Listed):
        raise _bad(
            "reason", "A freeze needs a reason.", "Say why: it is what stopped people will read."
        )


def _columns(kind: Kind, when: Once | Weekly | Listed, *, now: datetime) -> dict[str, Any]:
    match when:
        case Listed(text):
            return {"ics": text, "events": ical.check(text)}
        case Weekly() as weekly:
            return {"weekly": _weekly(weekly)}
        case Once(starts_at, ends_at):
            _check_once(kind, starts_at, ends_at, now)
            return {"starts_at": starts_at, "ends_at": ends_at}


def _check_once(kind: Kind, starts_at: datetime, ends_at: datetime | None, now: datetime) -> None:
    if ends_at is None:
        if kind is Kind.WINDOW:
            raise _bad("ends_at", "A window that happens once has an end.", "Say until when.")
        if starts_at > now + LONGEST_AHEAD:
            raise _bad("starts_at", "That is more than five years away.", "Check the year.")
        return
    if ends_at <= starts_at:
        raise _bad("ends_at", "It ends before it starts.", "Choose an end after the start.")
    if ends_at <= now:
        raise _bad("ends_at", "It is over already.", "Choose an end that is still to come.")
    if ends_at > now + LONGEST_AHEAD:
        raise _bad("ends_at", "That is more than five years away.", "Check the year.")


def _weekly(weekly: Weekly) -> dict[str, Any]:
    if not weekly.days or not weekly.days <= frozenset(range(7)):
        raise _bad("days", "It needs at least one day of the week.", "Choose the days it starts.")
    if not 0 <= weekly.days_later <= 6:
        raise _bad("days_later", "It ends at most six days after it starts.", "Choose 0 to 6.")
    if weekly.days_later == 0 and weekly.end <= weekly.start:
        raise _bad(
            "end",
            f"It ends at {weekly.end:%H:%M}, before it starts at {weekly.start:%H:%M}.",
            "Choose a later end, or let it end on a later day.",
        )
    return {
        "days": sorted(weekly.days),
        "start": _clock(weekly.start),
        "end": _clock(weekly.end),
        "days_later": weekly.days_later,
    }


def _clock(at: time) -> str:
    return at.strftime("%H:%M")


def _said(row: Calendar) -> dict[str, Any]:
    """Return what the ledger keeps of a calendar: its times, not a whole file."""
    if row.ics:
        return {"title": row.title, "events": row.events}
    if row.weekly is not None:
        return {"title": row.title, **row.weekly}
    ends_at = row.ends_at.isoformat() if row.ends_at else None
    starts_at = row.starts_at.isoformat() if row.starts_at else None
    return {"title": row.title, "starts_at": starts_at, "ends_at": ends_at}


def _record(
    actor: Actor,
    verb: str,
    row: Calendar,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str,
) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        target=f"environment/{row.environment.slug}",
        subject=f"{row.environment.slug}: {row.title}",
        before=before,
        after=after,
        reason=reason,
    )
    announce("home")


def _bad(field: str, sentence: str, remedy: str) -> Invalid:
    return Invalid(sentence, remedy=remedy, field=field, code="environments.bad_calendar")
