"""Reading what people are told, where it goes, and what became of it."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Count, IntegerField, Max, Q, QuerySet, Value, When

from apps.accounts.domain import access
from apps.notifications.domain.kinds import KINDS, Way
from apps.notifications.domain.states import DeliveryState
from apps.notifications.models import Channel, Delivery, Notification, Preference
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import Missing

MOST_COUNTED = 100  # "99+": nobody reads further, and the bell must stay cheap
OPERATE = "notifications.delivery.replay"
MANAGE = "notifications.channel.manage"


@dataclass(frozen=True)
class Choice:
    """How a person hears of one kind of thing.

    Attributes:
        kind: Its name.
        title: As the page lists it.
        way: What holds.
        usual: What holds for whoever chose nothing.
    """

    kind: str
    title: str
    way: Way
    usual: Way


# --- what a person is told --------------------------------------------------------------------


def unread_count(actor: Actor) -> int:
    """Return how much the actor has not read; at most 100."""
    if actor.person_id is None:
        return 0
    return Notification.objects.filter(person=actor.person_id, read_at=None)[:MOST_COUNTED].count()


def notifications(
    actor: Actor, *, unread: bool | None = None, kind: str = ""
) -> QuerySet[Notification]:
    """Return what the actor was told: what is unread first, then the newest first.

    Args:
        actor: Whose they are.
        unread: Only what is unread (True) or read (False).
        kind: Only this kind.
    """
    access.require(actor, "notifications.read")
    rows = Notification.objects.filter(person=actor.person_id)
    if actor.person_id is None:
        rows = rows.none()
    if unread is not None:
        rows = rows.filter(read_at__isnull=unread)
    if kind:
        rows = rows.filter(kind=kind)
    fresh = Case(When(read_at=None, then=Value(1)), default=0, output_field=IntegerField())
    return rows.annotate(fresh=fresh).order_by("-fresh", "-id")


def notification(actor: Actor, public_id: str) -> Notification:
    """Return one thing that the actor was told.

    Raises:
        Missing: There is none, or it was told to somebody else.
    """
    found = notifications(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing("There is no such notification.", code="notification.missing")
    return found


def choices(actor: Actor) -> list[Choice]:
    """Return how the actor hears of each kind of thing."""
    access.require(actor, "notifications.read")
    rows = Preference.objects.filter(person=actor.person_id)
    stated = dict(rows.values_list("kind", "way")) if actor.person_id else {}
    return [Choice(k.name, k.title, Way(stated.get(k.name, k.way)), k.way) for k in KINDS.values()]


@dataclass(frozen=True)
class Arrival:
    """Whether what was told has arrived where it was meant for.

    Attributes:
        at: When the first had it; None when nobody has.
        reached: Who: channels by name, or people in words.
        waits: Whether something is still on its way, and nothing has arrived.
    """

    at: datetime | None = None
    reached: tuple[str, ...] = ()
    waits: bool = False


def arrival(dedupe: str) -> Arrival:
    """Return what became of everything that was told under `dedupe`. For workers.

    Where something goes outside (a channel, a mail), only that counts: a page that somebody may
    look at wakes nobody.
    """
    outside = Delivery.objects.filter(dedupe=dedupe).select_related("channel")
    sent = list(outside.order_by("delivered_at", "id"))
    if not sent:
        return _on_pages(dedupe)
    arrived = [row for row in sent if row.delivered_at is not None]
    waits = not arrived and any(row.state == DeliveryState.PENDING for row in sent)
    names = [row.channel.name if row.channel else row.address for row in arrived]
    first = arrived[0].delivered_at if arrived else None
    return Arrival(first, tuple(dict.fromkeys(names)), waits)


def _on_pages(dedupe: str) -> Arrival:
    told = Notification.objects.filter(dedupe=dedupe).order_by("id")
    times = list(told.values_list("created_at", flat=True))
    people = f"{len(times)} {'person' if len(times) == 1 else 'people'} on their pages"
    return Arrival(times[0], (people,)) if times else Arrival()


# --- channels ---------------------------------------------------------------------------------


def channels(actor: Actor, *, team: str = "") -> QuerySet[Channel]:
    """Return the actor's own channels and those of the teams they belong to, by name.

    Args:
        actor: Who looks.
        team: Only those of the team with this slug.
    """
    access.require(actor, "notifications.read")
    teams = teams_of(actor, "notifications.read")
    mine = Q(person=actor.person_id) if actor.person_id else Q(pk__in=[])
    theirs = Q(team__isnull=False) if teams is None else Q(team__slug__in=teams)
    rows = Channel.objects.select_related("team", "person").filter(mine | theirs)
    rows = rows.filter(team__slug=team) if team else rows
    lost = Count("deliveries", filter=Q(deliveries__state=DeliveryState.DEAD))
    return rows.annotate(lost=lost).order_by("name", "id")


def channel(actor: Actor, public_id: str) -> Channel:
    """Return one channel.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    found = channels(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing(
            "There is no such channel.",
            remedy="GET /api/v1/notification-channels lists those that you may see.",
            code="channel.missing",
        )
    return found


def on_call_reachable(team_id: int) -> tuple[bool, str, datetime | None]:
    """Return whether somebody of a team would be woken, why, and when that was last seen.

    Only a channel on call that a message has reached counts: one that nobody tried is not known
    to work, and one that lost a message since does not.
    """
    rows = Channel.objects.filter(team=team_id, on_call=True, disabled_at=None)
    seen = rows.aggregate(all=Count("id"), verified=Max("verified_at"))
    if not seen["all"]:
        return False, "The team has no channel on call.", None
    if seen["verified"] is None:
        names = ", ".join(rows.order_by("name").values_list("name", flat=True)[:3])
        return False, f"No message has reached the team's channels on call ({names}).", None
    best = rows.filter(verified_at=seen["verified"]).order_by("pk").first()
    name = best.name if best else ""
    return True, f"A message reached {name}, a channel of the team on call.", seen["verified"]


# --- the outbox -------------------------------------------------------------------------------


def deliveries(
    actor: Actor, *, state: str = "", kind: str = "", channel: str = ""
) -> QuerySet[Delivery]:
    """Return what is on its way, arrived or was given up, newest first.

    Everybody sees their own, and what goes to the channels of their teams; operators everything.

    Args:
        actor: Who looks.
        state: Only this state.
        kind: Only this kind.
        channel: Only what goes to the channel of this id.
    """
    access.require(actor, "notifications.read")
    rows = Delivery.objects.select_related("channel__team", "channel__person", "person")
    if teams_of(actor, OPERATE) is not None:
        mine = Q(person=actor.person_id) | Q(channel__person=actor.person_id)
        own = mine if actor.person_id else Q(pk__in=[])
        rows = rows.filter(own | _of_teams(actor))
    for name, value in (("state", state), ("kind", kind), ("channel__public_id", channel)):
        rows = rows.filter(**{name: value}) if value else rows
    return rows.order_by("-id")


def delivery(actor: Actor, public_id: str) -> Delivery:
    """Return one delivery.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    found = deliveries(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing("There is no such delivery.", code="delivery.missing")
    return found


def outbox_counts(actor: Actor) -> dict[str, int]:
    """Return how many deliveries the actor sees in each state."""
    rows = deliveries(actor).order_by().values("state").annotate(count=Count("id"))
    counted = dict(rows.values_list("state", "count"))
    return {str(state): counted.get(str(state), 0) for state in DeliveryState}


def last_tests(channel_ids: list[int]) -> dict[int, Delivery]:
    """Return the newest test message of each channel, by the channel's key."""
    rows = Delivery.objects.filter(channel__in=channel_ids, kind="channel.test")
    newest = rows.order_by("channel", "-id").distinct("channel")
    return {row.channel_id: row for row in newest if row.channel_id is not None}


def _of_teams(actor: Actor) -> Q:
    teams = teams_of(actor, "notifications.read")
    if teams is None:
        return Q(channel__team__isnull=False)
    return Q(channel__team__slug__in=teams)


def teams_of(actor: Actor, verb: str) -> frozenset[str] | None:
    """Return the slugs of the teams in which the actor may do `verb`; None for every team."""
    if access.allows_everywhere(actor, verb):
        return None
    if actor.kind is ActorKind.ANONYMOUS or (actor.verbs is not None and verb not in actor.verbs):
        return frozenset()
    roles = access.TABLE[verb]
    granted = [g for g in actor.grants if g.role in roles]
    if any(g.team is None for g in granted):
        return None
    return frozenset(g.team for g in granted if g.team is not None)
