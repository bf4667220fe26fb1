"""The daily mail, and what is dropped with time."""

from datetime import timedelta
from typing import Any

import pytest

from apps.notifications import services
from apps.notifications.models import Delivery, Notification
from tests import factories
from tests.integration.notifications.conftest import PUBLIC_URL, Office, a_channel, a_delivery
from tests.receivers import MailReceiver

pytestmark = pytest.mark.django_db


def told(person: Any, number: int, **columns: Any) -> Notification:
    return Notification.objects.create(
        person=person, kind="release.live", title=f"thing {number}", link=f"/releases/{number}",
        **columns,
    )  # fmt: skip


def test_a_daily_mail_collects_what_happened(office: Office, post: MailReceiver, settings: Any):
    settings.PUBLIC_URL = PUBLIC_URL
    ada = factories.person()
    ada.email = "ada@example.org"
    ada.save()
    past, future = office.now - timedelta(minutes=1), office.now + timedelta(days=1)
    for number in (1, 2):
        told(ada, number, digest_at=past)
    told(ada, 3, digest_at=future)
    assert services.send_digests(now=office.now) == 1
    assert services.send_digests(now=office.now) == 0
    assert office.step(Delivery.objects.get()).state == "delivered"
    [mail] = post.received
    assert mail["Subject"] == "2 things to know"
    words = mail.get_content().replace("\r\n", "\n")
    assert f"thing 1\n  {PUBLIC_URL}/releases/1" in words
    assert "thing 3" not in words


def test_what_was_read_meanwhile_is_not_mailed(office: Office):
    ada = factories.person(role="viewer")
    row = told(ada, 1, digest_at=office.now)
    services.mark_read(actor=factories.actor_of(ada), notification_id=row.public_id)
    assert services.send_digests(now=office.now) == 0
    assert not Delivery.objects.exists()


def test_old_things_are_dropped(office: Office):
    ada = factories.person()
    for number, columns in enumerate(
        [{}, {"read_at": office.now - timedelta(days=91)}, {"read_at": office.now}]
    ):
        told(ada, number, **columns)
    long_ago = told(ada, 9)
    Notification.objects.filter(pk=long_ago.pk).update(created_at=office.now - timedelta(days=181))
    channel = a_channel("https://x.example.org/")
    for state, days in {("delivered", 31), ("delivered", 1), ("dead", 31), ("dead", 91),
                        ("pending", 400)}:  # fmt: skip
        row = a_delivery(channel, state=state)
        Delivery.objects.filter(pk=row.pk).update(changed_at=office.now - timedelta(days=days))
    services.tidy(now=office.now)
    assert sorted(Notification.objects.values_list("title", flat=True)) == ["thing 0", "thing 2"]
    assert sorted(Delivery.objects.values_list("state", flat=True)) == [
        "dead", "delivered", "pending",
    ]  # fmt: skip
