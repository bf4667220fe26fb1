"""Reading environments."""

from collections.abc import Iterable
from datetime import datetime, time
from zoneinfo import ZoneInfo

from django.db.models import QuerySet

from apps.accounts.domain import access
from apps.environments.domain import calendar
from apps.environments.domain.calendar import Entry, Kind, Listed, Once, Opening, Weekly
from apps.environments.models import Calendar, Environment
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing


def environments(actor: Actor) -> QuerySet[Environment]:
    """Return the environments in the order of promotion."""
    access.require(actor, "environments.read")
    return in_order()


def in_order() -> QuerySet[Environment]:
    """Return the environments in the order of promotion, for choosing one."""
    return Environment.objects.order_by("rank", "id")


def protected_aliases() -> dict[str, str]:
    """Return the environment's slug by its alias, which only a release there moves.

    Keys are lower case; ask with `alias.lower()`, so that Champion is champion.
    """
    rows = in_order().exclude(alias="").values_list("alias", "slug")
    return dict(rows)


def claiming(alias: str) -> Environment | None:
    """Return the environment whose live version `alias` names; None when none claims it."""
    return Environment.objects.filter(alias=alias.lower()).exclude(alias="").first()


def by_slug(slug: str) -> Environment:
    """Return one environment.

    Raises:
        Missing: There is none of that name.
    """
    found = Environment.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(in_order().values_list("slug", flat=True))
        raise Missing(
            f"There is no environment {slug}.",
            remedy=f"The environments are: {known}.",
            field="environment",
            code="environments.missing",
        )
    return found


def opening(environment: Environment, now: datetime) -> Opening:
    """Return whether rollouts may start in `environment` now, why not, and when it changes."""
    rows = Calendar.objects.filter(environment=environment, ended_at=None)
    return calendar.standing(entries(rows), now, ZoneInfo(environment.time_zone))


def openings(now: datetime) -> dict[str, Opening]:
    """Return the opening of every environment, by its slug, in the order of promotion."""
    rows = list(Calendar.objects.filter(ended_at=None).order_by("id"))
    return {
        place.slug: calendar.standing(
            entries(row for row in rows if row.environment_id == place.pk),
            now,
            ZoneInfo(place.time_zone),
        )
        for place in in_order()
    }


def calendars(actor: Actor, environment: Environment, kind: Kind) -> QuerySet[Calendar]:
    """Return the freezes or the windows of an environment, those in force first."""
    access.require(actor, "environments.read")
    return Calendar.objects.filter(environment=environment, kind=kind).order_by("-ended_at", "-id")


def all_calendars(actor: Actor) -> QuerySet[Calendar]:
    """Return the freezes and windows of every environment, those in force first."""
    access.require(actor, "environments.read")
    return Calendar.objects.order_by("-ended_at", "-id")


def calendar_by_id(actor: Actor, public_id: str) -> Calendar:
    """Return one freeze or window, with its environment.

    Raises:
        Missing: There is none with that id; the code is `environments.no_such_calendar`.
    """
    access.require(actor, "environments.read")
    rows = Calendar.objects.select_related("environment").filter(public_id=public_id)
    found = rows.first()
    if found is None:
        raise Missing(
            f"There is no freeze or window {public_id[:20]}.",
            field="id",
            code="environments.no_such_calendar",
        )
    return found


def calendar_of(
    environment: Environment, kind: Kind, public_id: str, *, lock: bool = False
) -> Calendar:
    """Return one freeze or window of an environment, locked for a change if asked.

    Raises:
        Missing: There is none with that id; the code is `environments.no_such_calendar`.
    """
    rows = Calendar.objects.filter(environment=environment, kind=kind, public_id=public_id)
    found = (rows.select_for_update() if lock else rows).first()
    if found is None:
        raise Missing(
            f"There is no {kind} {public_id[:20]} in {environment.slug}.",
            remedy=f"Look at the {kind}s of {environment.slug}.",
            field="id",
            code="environments.no_such_calendar",
        )
    return found


def entries(rows: Iterable[Calendar]) -> list[Entry]:
    """Return rows as the values that `domain.calendar` reads."""
    return [
        Entry(
            kind=Kind(row.kind),
            title=row.title,
            when=when(row),
            reason=row.reason,
            key=row.public_id,
        )
        for row in rows
    ]


def when(row: Calendar) -> Once | Weekly | Listed:
    """Return when a row stands, as a value."""
    if row.ics:
        return Listed(row.ics)
    if row.weekly is not None:
        return Weekly(
            days=frozenset(row.weekly["days"]),
            start=time.fromisoformat(row.weekly["start"]),
            end=time.fromisoformat(row.weekly["end"]),
            days_later=row.weekly["days_later"],
        )
    if row.starts_at is None:
        raise AssertionError(row)
    return Once(row.starts_at, row.ends_at)
