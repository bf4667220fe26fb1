"""Saying something: rows for the people, and an outbox for what goes outside.

`notify` is called inside the transaction of whatever happened, so that nobody is told of what
was rolled back, and whatever was committed is told however the process ends.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q

from apps.accounts import selectors as accounts
from apps.accounts.models import Person
from apps.notifications.domain.digests import next_digest
from apps.notifications.domain.kinds import ABOUT_CHANNELS, Way, way_of
from apps.notifications.domain.message import Message
from apps.notifications.models import Channel, Delivery, Notification, Preference
from controlplane.db.live import announce, announce_all
from controlplane.kernel.clock import SystemClock

TITLE, BODY, DEDUPE = 200, 10_000, 150


def notify(
    *,
    kind: str,
    title: str,
    body: str = "",
    link: str,
    people: Collection[int] = (),
    teams: Collection[int] = (),
    on_call_of: int | None = None,
    channels_of: Collection[int] = (),
    dedupe: str = "",
    urgent: bool = False,
) -> None:
    """Tell people something, in the caller's transaction.

    Args:
        kind: A key of `domain.kinds.KINDS`.
        title: One line; longer than 200 characters is cut.
        body: More, in plain text.
        link: A path of ours where it is looked at ("/releases/12").
        people: Keys of persons; whoever has left is not told.
        teams: Keys of teams: everybody who holds a role in one is told, and its channels.
        on_call_of: The key of a team whose on-call channels are told too.
        channels_of: Keys of teams whose channels are told, without telling everybody in them.
        dedupe: What it is about ("release/3f9k2m/waits/2"): each person and channel is told once.
        urgent: Whether somebody should be woken; what is urgent never waits for a digest.

    Raises:
        RuntimeError: No transaction is open.
        ValueError: `link` is not a path of ours.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"notify({kind!r}) outside a transaction")
    if not link.startswith("/") or link.startswith("//"):
        raise ValueError(f"notify({kind!r}) needs a path of ours, not {link!r}")
    now = SystemClock().now()
    title = _cut(" ".join(title.split()), TITLE)
    message = Message(kind, title, _cut(body, BODY), link, urgent, now.isoformat())
    key = _key(dedupe)
    told = accounts.recipients(people, teams)
    ways = _ways([person.pk for person in told], kind)
    listening = [person for person in told if ways[person.pk] is not Way.OFF]
    fresh = _tell_people(listening, ways, message, key, now)
    channels = _channels(kind, [p.pk for p in listening], {*teams, *channels_of}, on_call_of)
    send(Delivery(channel=channel, **_outgoing(message, key, now)) for channel in channels)
    send(
        Delivery(person=person, address=person.email, **_outgoing(message, key, now))
        for person in fresh
        if _by_mail(person, ways[person.pk], urgent)
    )


def send(deliveries: Iterable[Delivery]) -> None:
    """Write deliveries to the outbox, each unless it was written before.

    Nobody is nudged: the workers that move traffic must not wait for strangers, so a sweep of
    its own finds these within a second (workers/loop.py: sweep_beside).
    """
    rows = list(deliveries)
    if rows:
        Delivery.objects.bulk_create(rows, ignore_conflicts=True)
        announce("deliveries")


def mail_is_set_up() -> bool:
    """Return whether there is a server that takes our mail."""
    return bool(settings.SMTP_URL)


def _tell_people(
    people: Sequence[Person],
    ways: Mapping[int, Way],
    message: Message,
    key: str,
    now: datetime,
) -> list[Person]:
    """Write what each person's page shows, and return those who had not been told."""
    rows = [
        Notification(
            person=person,
            kind=message.kind,
            title=message.title,
            body=message.body,
            link=message.link,
            urgent=message.urgent,
            dedupe=key,
            digest_at=_digest_at(person, ways[person.pk], message.urgent, now),
        )
        for person in people
    ]
    Notification.objects.bulk_create(rows, ignore_conflicts=True)
    fresh = _inserted([row.public_id for row in rows])
    told = [row.person for row in rows if row.public_id in fresh]
    if told:
        announce_all([f"person/{person.pk}" for person in told], hint="inbox")
    return told


def _inserted(public_ids: Sequence[str]) -> set[str]:
    """Return the rows that were written by us, and not by an earlier call with the same key."""
    rows = Notification.objects.filter(public_id__in=public_ids)
    return set(rows.values_list("public_id", flat=True))


def _channels(
    kind: str, people: Collection[int], teams: Collection[int], on_call_of: int | None
) -> list[Channel]:
    """Return the channels that want to be told, in the order of their keys.

    A team's channels on call are told of what is on call, and of what they subscribed to.
    """
    if kind == ABOUT_CHANNELS:
        return []
    wanted = Q(kinds=[]) | Q(kinds__contains=[kind])
    told = wanted & (Q(person__in=people) | Q(team__in=teams))
    if on_call_of is not None:
        told |= Q(team=on_call_of, on_call=True)
    return list(Channel.objects.filter(told, disabled_at=None).order_by("pk"))


def _ways(people: Collection[int], kind: str) -> dict[int, Way]:
    stated = Preference.objects.filter(person__in=people, kind=kind)
    chosen = dict(stated.values_list("person_id", "way"))
    return {pk: Way(chosen[pk]) if pk in chosen else way_of(kind) for pk in people}


def _by_mail(person: Person, way: Way, urgent: bool) -> bool:
    at_once = way is Way.MAIL or (way is Way.DIGEST and urgent)
    return at_once and bool(person.email) and mail_is_set_up()


def _digest_at(person: Person, way: Way, urgent: bool, now: datetime) -> datetime | None:
    if way is not Way.DIGEST or urgent or not person.email or not mail_is_set_up():
        return None
    return next_digest(now, person.time_zone)


def _outgoing(message: Message, key: str, now: datetime) -> dict[str, Any]:
    return {
        "kind": message.kind,
        "payload": message.as_payload(),
        "dedupe": key,
        "next_reconcile_at": now,
    }


def _cut(text: str, most: int) -> str:
    # PostgreSQL keeps no NUL, and whoever triggered us must not fail for one.
    clean = text.replace("\x00", "")
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def _key(dedupe: str) -> str:
    """Return `dedupe`, or its hash when it is longer than a row keeps."""
    if len(dedupe) <= DEDUPE:
        return dedupe
    return "sha256:" + hashlib.sha256(dedupe.encode()).hexdigest()
