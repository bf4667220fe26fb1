"""The outbox: sent again by people, collected into daily mails, and emptied in time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from apps.accounts import selectors as accounts
from apps.accounts.domain import access
from apps.audit import services as audit
from apps.notifications import selectors
from apps.notifications.domain.kinds import DIGEST
from apps.notifications.domain.message import Message
from apps.notifications.domain.states import DELIVERY, DeliveryMove, DeliveryState
from apps.notifications.models import Delivery, Notification
from apps.notifications.services.telling import mail_is_set_up, send
from controlplane.db.live import announce
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict

READ_KEPT = timedelta(days=90)
UNREAD_KEPT = timedelta(days=180)
DELIVERED_KEPT = timedelta(days=30)
DEAD_KEPT = timedelta(days=90)
MOST_LISTED = 50  # things in one daily mail
PEOPLE_AT_ONCE = 20


def replay(*, actor: Actor, delivery_id: str, reason: str = "") -> Delivery:
    """Send a delivery once more, under its own id, with all its attempts before it again.

    Raises:
        Denied: The actor may not.
        Missing: There is no such delivery, or the actor may not see it.
        Conflict: It is on its way already.
    """
    access.require(actor, selectors.OPERATE)
    found = selectors.delivery(actor, delivery_id)
    if found.channel is not None and found.channel.team is not None:
        access.require(actor, selectors.OPERATE, team=found.channel.team.slug)
    now = SystemClock().now()
    with commanding(Delivery, found.pk, now=now) as row:
        before = DeliveryState(row.state)
        if before is DeliveryState.PENDING:
            raise Conflict("This message is on its way already.", code="delivery.pending")
        row.state = DELIVERY.after(before, DeliveryMove.REPLAY)
        row.attempts, row.replays = 0, row.replays + 1
        row.delivered_at, row.problem, row.remedy, row.receipt = None, "", "", ""
        audit.record(
            actor=actor,
            verb=selectors.OPERATE,
            target=f"delivery/{row.public_id}",
            subject=f"a message about {row.payload['title']}",
            before={"state": str(before)},
            after={"state": str(row.state), "replays": row.replays},
            reason=reason,
        )
        announce("deliveries")
        announce(f"delivery/{row.public_id}")
    return row


def send_digests(*, now: datetime) -> int:
    """Write the daily mails that are due, and return how many there were.

    Not in the ledger: everything in them was told already.
    """
    due = Notification.objects.filter(digest_at__lte=now).order_by().values("person").distinct()
    return sum(
        _send_digest(pk, now) for pk in due.values_list("person", flat=True)[:PEOPLE_AT_ONCE]
    )


@transaction.atomic
def _send_digest(person_id: int, now: datetime) -> bool:
    """Write the mail of one person; False when another worker does, or nothing is left to say."""
    rows = list(
        Notification.objects.select_for_update(skip_locked=True, no_key=True)
        .filter(person=person_id, digest_at__lte=now)
        .order_by("id")
    )
    Notification.objects.filter(pk__in=[row.pk for row in rows]).update(digest_at=None)
    person = next(iter(accounts.recipients([person_id], [])), None)
    if not rows or person is None or not person.email or not mail_is_set_up():
        return False
    message = _digest(rows, now)
    key = f"digest/{rows[0].public_id}/{rows[-1].public_id}"
    send(
        [
            Delivery(
                person=person, address=person.email, kind=DIGEST, dedupe=key,
                payload=message.as_payload(), next_reconcile_at=now,
            )
        ]
    )  # fmt: skip
    return True


def _digest(rows: Sequence[Notification], now: datetime) -> Message:
    lines = [f"{row.title}\n  {settings.PUBLIC_URL}{row.link}" for row in rows[-MOST_LISTED:]]
    if len(rows) > MOST_LISTED:
        lines.append(f"... and {len(rows) - MOST_LISTED} more.")
    things = "One thing" if len(rows) == 1 else f"{len(rows)} things"
    return Message(
        kind=DIGEST,
        title=f"{things} to know",
        body="\n\n".join(lines),
        link="/notifications",
        urgent=False,
        at=now.isoformat(),
    )


def tidy(*, now: datetime) -> None:
    """Drop what is too old to matter to anybody. Not in the ledger: nobody decided it."""
    read = Q(read_at__lt=now - READ_KEPT) | Q(created_at__lt=now - UNREAD_KEPT)
    Notification.objects.filter(read).delete()
    over = Q(state=DeliveryState.DELIVERED, changed_at__lt=now - DELIVERED_KEPT)
    dead = Q(state=DeliveryState.DEAD, changed_at__lt=now - DEAD_KEPT)
    Delivery.objects.filter(over | dead).delete()
