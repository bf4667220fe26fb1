"""Receivers that really listen, and a clock that jumps."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.notifications import vault
from apps.notifications.domain import addresses
from apps.notifications.domain.kinds import Transport
from apps.notifications.models import Channel, Delivery
from apps.notifications.ports import Sender
from apps.notifications.reconcile import DeliveryReconciler
from controlplane.drivers.notices.mail import MailSender
from controlplane.drivers.notices.services import AppriseSender
from controlplane.drivers.notices.webhook import WebhookSender
from tests import factories
from tests.receivers import MailReceiver, WebReceiver, mail_receiver, web_receiver
from workers import loop
from workers.loop import Kind

PUBLIC_URL = "https://modelyard.example.org"
SECRET = "0123456789abcdef"


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def post() -> Iterator[MailReceiver]:
    with mail_receiver() as receiver:
        yield receiver


class Office:
    """The real senders, and a clock that jumps to whatever is due next."""

    def __init__(self, smtp: str = "", *, private: bool = True) -> None:
        self.now = datetime.now(UTC) + timedelta(seconds=1)
        self.senders: dict[Transport, Sender] = {
            Transport.MAIL: MailSender(smtp, "Modelyard <yard@example.org>"),
            Transport.WEBHOOK: WebhookSender(PUBLIC_URL, private=private),
            Transport.APPRISE: AppriseSender(private=private),
        }
        self.kind = Kind(Delivery, lambda: DeliveryReconciler(self.senders, PUBLIC_URL), threads=8)

    def step(self, delivery: Delivery) -> Delivery:
        """Run the pass that is due next, and return the row as it is then."""
        row = Delivery.objects.get(pk=delivery.pk)
        due = row.next_reconcile_at
        assert due is not None, f"nothing is due for {row}"
        held = row.lease_expires_at if row.lease_token else None
        self.now = max(self.now, due, held or self.now) + timedelta(milliseconds=1)
        assert loop.reconcile_one(self.kind, row.pk, now=self.now)
        return Delivery.objects.get(pk=delivery.pk)


@pytest.fixture
def office(post: MailReceiver, settings: Any) -> Office:
    settings.NOTIFY_PRIVATE = True
    settings.SMTP_URL = post.url
    return Office(post.url)


def a_channel(target: str, *, transport: str = "webhook", **columns: Any) -> Channel:
    """Return a channel that goes to `target`; of a new team, unless told otherwise."""
    if "person" not in columns and "team" not in columns:
        columns["team"] = factories.team()
    return Channel.objects.create(
        **{
            "name": "the channel",
            "transport": transport,
            "target": vault.seal(target),
            "shown": addresses.shown(Transport(transport), target),
            "secret": vault.seal(SECRET) if transport == "webhook" else "",
            **columns,
        }
    )


def a_delivery(channel: Channel | None = None, **columns: Any) -> Delivery:
    """Return a message that is due."""
    now = datetime.now(UTC)
    payload = {
        "kind": "release.waits_for_you",
        "title": "fraud-score v3 waits for you",
        "body": "Ada proposed it.",
        "link": "/releases/12",
        "urgent": False,
        "at": now.isoformat(),
    }
    given = columns.pop("payload", {})
    return Delivery.objects.create(
        **{
            "channel": channel,
            "kind": "release.waits_for_you",
            "payload": {**payload, **given},
            "next_reconcile_at": now,
            **columns,
        }
    )
