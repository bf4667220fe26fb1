"""One pass over a delivery: one attempt.

1. Find where it goes now; a channel may have been changed or disabled since.
2. Hand the message over, outside any transaction.
3. Record what came of it: delivered, another try later, or a dead letter.

A worker that dies between 2 and 3 leaves the delivery due, and the next one hands it over again
under the same id: a message comes at least once, and its receiver can tell.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from apps.accounts import selectors as accounts
from apps.notifications import vault
from apps.notifications.domain.kinds import ABOUT_CHANNELS, TEST, Transport
from apps.notifications.domain.message import from_payload
from apps.notifications.domain.pauses import pause_after
from apps.notifications.domain.states import DELIVERY, DeliveryMove, DeliveryState
from apps.notifications.models import Channel, Delivery
from apps.notifications.ports import Parcel, Sender
from apps.notifications.services import notify
from controlplane.db.live import announce
from controlplane.db.reconcile import Claim
from controlplane.kernel.errors import ControlPlaneError, Permanent, Throttled, Transient


@dataclass(frozen=True)
class DeliveryReconciler:
    """Drives deliveries, one attempt a pass.

    Attributes:
        senders: What carries messages, by transport.
        public_url: How browsers reach us, without a trailing slash.
    """

    senders: Mapping[Transport, Sender]
    public_url: str

    def __call__(self, claim: Claim[Delivery], now: datetime) -> None:
        """Run one pass."""
        delivery = claim.row
        if delivery.state != DeliveryState.PENDING:
            claim.record(next_at=None)
            return
        channel = _channel_of(delivery)
        try:
            transport, parcel = self._parcel(delivery, channel, now)
            receipt = self.senders[transport].send(parcel)
        except (Transient, Throttled) as error:
            _put_off(claim, channel, error, now)
        except Permanent as error:
            _give_up(claim, channel, error, now)
        else:
            _delivered(claim, channel, receipt, now)

    def park(self, claim: Claim[Delivery], error: ControlPlaneError, now: datetime) -> None:
        """Make a dead letter of what fails for a reason of our own."""
        _give_up(claim, _channel_of(claim.row), error, now)

    def _parcel(
        self, delivery: Delivery, channel: Channel | None, now: datetime
    ) -> tuple[Transport, Parcel]:
        message = from_payload(delivery.payload)
        if channel is None:
            transport, target, secret = Transport.MAIL, delivery.address, ""
        else:
            _refuse_disabled(channel)
            transport = Transport(channel.transport)
            target, secret = vault.open_target(channel), vault.open_secret(channel)
        parcel = Parcel(
            id=delivery.public_id,
            attempt=delivery.tries + 1,
            target=target,
            secret=secret,
            message=message,
            url=self.public_url + message.link,
            at=now,
        )
        return transport, parcel


def _channel_of(delivery: Delivery) -> Channel | None:
    if delivery.channel_id is None:
        return None
    return Channel.objects.select_related("team", "person").get(pk=delivery.channel_id)


def _refuse_disabled(channel: Channel) -> None:
    if channel.disabled_at is not None:
        raise Permanent(
            f"The channel {channel.name} is disabled.",
            remedy="Enable it under /settings/notifications, and replay.",
            code="channel.disabled",
        )


def _delivered(
    claim: Claim[Delivery], channel: Channel | None, receipt: str, now: datetime
) -> None:
    with transaction.atomic():
        held = _record(
            claim,
            now,
            next_at=None,
            state=DELIVERY.after(DeliveryState(claim.row.state), DeliveryMove.DELIVER),
            delivered_at=now,
            receipt=receipt[:200],
            problem="",
            remedy="",
        )
        if held and channel is not None:
            _verify(channel, now)


def _put_off(
    claim: Claim[Delivery],
    channel: Channel | None,
    error: Transient | Throttled,
    now: datetime,
) -> None:
    asked = timedelta(seconds=error.wait_seconds) if isinstance(error, Throttled) else None
    failures = claim.row.attempts + 1
    pause = pause_after(failures, jitter=random.random(), asked=asked)  # noqa: S311
    if pause is None or claim.row.kind == TEST:  # whoever tests looks at the answer, and tries
        _give_up(claim, channel, error, now)
        return
    _record(
        claim,
        now,
        next_at=now + pause,
        attempts=failures,
        problem=error.sentence,
        remedy=error.remedy,
    )


def _give_up(
    claim: Claim[Delivery], channel: Channel | None, error: ControlPlaneError, now: datetime
) -> None:
    if claim.row.state != DeliveryState.PENDING:
        claim.record(next_at=None)
        return
    with transaction.atomic():
        held = _record(
            claim,
            now,
            next_at=None,
            state=DELIVERY.after(DeliveryState(claim.row.state), DeliveryMove.GIVE_UP),
            attempts=F("attempts") + 1,
            problem=error.sentence,
            remedy=error.remedy,
        )
        if held and channel is not None:
            _distrust(channel)
            _tell_its_owner(claim.row, channel, error, now)


def _record(
    claim: Claim[Delivery], now: datetime, *, next_at: datetime | None, **changes: Any
) -> bool:
    """Write what came of an attempt; nothing when the lease was lost meanwhile."""
    with transaction.atomic():
        held = claim.record(
            next_at=next_at, tries=F("tries") + 1, last_attempt_at=now, changed_at=now, **changes
        )
        if held:
            announce("deliveries")
            announce(f"delivery/{claim.row.public_id}")
    return held


def _verify(channel: Channel, now: datetime) -> None:
    """Note that a message arrived, unless the channel goes elsewhere by now."""
    Channel.objects.filter(pk=channel.pk, target=channel.target).update(verified_at=now)


def _distrust(channel: Channel) -> None:
    """Note that a channel no longer works: nobody can rely on it until a message arrives."""
    Channel.objects.filter(pk=channel.pk, target=channel.target).update(verified_at=None)


def _tell_its_owner(
    delivery: Delivery, channel: Channel, error: ControlPlaneError, now: datetime
) -> None:
    """Tell people, on their pages and by mail, that a channel lost a message; once a day."""
    if delivery.kind in (TEST, ABOUT_CHANNELS):
        return
    teams = [channel.team_id] if channel.team_id else []
    people = [channel.person_id] if channel.person_id else []
    notify(
        kind=ABOUT_CHANNELS,
        title=f"The channel {channel.name} did not take a message",
        body=f"{error.sentence} {error.remedy}".strip(),
        link=f"/deliveries?state={DeliveryState.DEAD}",
        people=[person.pk for person in accounts.recipients(people, teams)],
        dedupe=f"channel/{channel.public_id}/broken/{now:%Y-%m-%d}",
        urgent=channel.on_call,
    )
