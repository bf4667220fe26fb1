"""What a person does with what they are told: read it, and choose how to hear of it."""

from collections.abc import Mapping

from django.db import transaction

from apps.accounts import selectors as accounts
from apps.accounts.domain import access
from apps.audit import services as audit
from apps.notifications.domain.kinds import KINDS, Way, way_of
from apps.notifications.models import Notification, Preference
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Denied, Invalid, Missing


@transaction.atomic
def mark_read(*, actor: Actor, notification_id: str) -> Notification:
    """Mark one thing as read; twice is no error. It drops out of the daily mail.

    Raises:
        Denied: The actor may not.
        Missing: There is no such notification, or it was told to somebody else.
    """
    access.require(actor, "notifications.read")
    row = (
        Notification.objects.select_for_update(no_key=True)
        .filter(public_id=notification_id, person=_person_of(actor))
        .first()
    )
    if row is None:
        raise Missing("There is no such notification.", code="notification.missing")
    if row.read_at is None:
        row.read_at, row.digest_at = SystemClock().now(), None
        row.save(update_fields=["read_at", "digest_at", "changed_at"])
        announce(f"person/{row.person_id}", hint="inbox")
    return row


@transaction.atomic
def mark_all_read(*, actor: Actor, up_to: str = "") -> int:
    """Mark everything as read that was there when the actor looked; return how much it was.

    Args:
        actor: Who has read it.
        up_to: The newest notification that the actor saw; "" for everything.

    Raises:
        Denied: The actor may not.
    """
    access.require(actor, "notifications.read")
    person = _person_of(actor)
    rows = Notification.objects.filter(person=person, read_at=None)
    if up_to:
        newest = Notification.objects.filter(person=person, public_id=up_to).first()
        rows = rows.filter(pk__lte=newest.pk if newest else 0)
    now = SystemClock().now()
    marked = rows.update(read_at=now, digest_at=None, changed_at=now)
    if marked:
        announce(f"person/{person}", hint="inbox")
    return marked


@transaction.atomic
def set_preferences(*, actor: Actor, ways: Mapping[str, str]) -> None:
    """Choose how to hear of some kinds of things; the others stay as they are.

    Args:
        actor: Whose choice it is.
        ways: A `Way` by the kind's name.

    Raises:
        Denied: The actor may not.
        Invalid: There is no such kind, or no such way.
    """
    access.require(actor, "notifications.follow")
    chosen = {_kind(kind): _way(kind, way) for kind, way in ways.items()}
    person = accounts.locked_person(_person_of(actor))
    stated = dict(Preference.objects.filter(person=person).values_list("kind", "way"))
    before = {kind: stated.get(kind, way_of(kind)) for kind in chosen}
    changed = {kind: way for kind, way in chosen.items() if before[kind] != way}
    if not changed:
        return
    Preference.objects.bulk_create(
        [Preference(person=person, kind=kind, way=way) for kind, way in changed.items()],
        update_conflicts=True,
        update_fields=["way"],
        unique_fields=["person", "kind"],
    )
    audit.record(
        actor=actor,
        verb="notifications.follow",
        target=f"person/{person.username}",
        subject="how to hear of things",
        before={kind: str(before[kind]) for kind in changed},
        after={kind: str(way) for kind, way in changed.items()},
    )


def _person_of(actor: Actor) -> int:
    if actor.person_id is None:
        raise Denied("Only people are told things.", code="notification.no_person")
    return actor.person_id


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise Invalid(
            f"{kind[:40]!r} is not a kind of notification.",
            remedy="GET /api/v1/notification-preferences lists them.",
            field="kind",
            code="preference.bad_kind",
        )
    return kind


def _way(kind: str, way: str) -> Way:
    try:
        return Way(way)
    except ValueError as error:
        raise Invalid(
            f"{way[:40]!r} is no way to hear of {kind}; it is one of {', '.join(Way)}.",
            field=kind,
            code="preference.bad_way",
        ) from error
