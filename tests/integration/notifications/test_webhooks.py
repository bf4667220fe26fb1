"""Deliveries by webhook, to receivers that really listen."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.notifications.domain.pauses import PAUSES
from apps.notifications.models import Channel, Delivery, Notification
from controlplane.drivers.notices import webhook
from tests import factories
from tests.integration.notifications.conftest import (
    PUBLIC_URL,
    SECRET,
    Office,
    a_channel,
    a_delivery,
)
from tests.receivers import WebReceiver, web_receiver

pytestmark = pytest.mark.django_db


def test_a_receiver_that_fails_once_gets_the_message_later(office: Office, web: WebReceiver):
    web.says(500, 200)
    sent = office.step(a_delivery(a_channel(web.url)))
    assert (sent.state, sent.tries, sent.attempts) == ("pending", 1, 1)
    assert sent.problem == "The receiver answered 500: thanks"
    assert timedelta(seconds=3) < sent.next_reconcile_at - office.now < timedelta(seconds=7)
    sent = office.step(sent)
    assert (sent.state, sent.tries, sent.problem) == ("delivered", 2, "")
    assert sent.receipt == "200 thanks"
    assert sent.next_reconcile_at is None
    first, second = web.received
    assert first.headers["Modelyard-Id"] == second.headers["Modelyard-Id"] == sent.public_id
    assert [r.headers["Modelyard-Attempt"] for r in (first, second)] == ["1", "2"]


def test_the_body_is_a_cloud_event(office: Office, web: WebReceiver):
    sent = office.step(a_delivery(a_channel(web.url)))
    [request] = web.received
    assert request.path == "/hook?key=s3cret"
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    event = json.loads(request.body)
    assert event == {
        "specversion": "1.0",
        "id": sent.public_id,
        "source": PUBLIC_URL,
        "type": "modelyard.release.waits_for_you",
        "subject": "/releases/12",
        "time": event["time"],
        "datacontenttype": "application/json",
        "data": {
            "kind": "release.waits_for_you",
            "title": "fraud-score v3 waits for you",
            "body": "Ada proposed it.",
            "url": f"{PUBLIC_URL}/releases/12",
            "urgent": False,
        },
    }


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302, 307])
def test_a_refusal_makes_a_dead_letter_at_once(office: Office, web: WebReceiver, status: int):
    web.says(status, location=f"http://127.0.0.1:{web.port}/elsewhere")
    sent = office.step(a_delivery(a_channel(web.url)))
    assert (sent.state, sent.next_reconcile_at) == ("dead", None)
    assert str(status) in sent.problem
    assert sent.remedy
    assert len(web.received) == 1  # a redirect is not followed


def test_a_receiver_may_ask_for_patience(office: Office, web: WebReceiver):
    web.says(429, retry_after="600")
    sent = office.step(a_delivery(a_channel(web.url)))
    assert sent.state == "pending"
    assert sent.next_reconcile_at - office.now == timedelta(seconds=600)


def test_pauses_grow_until_it_is_given_up_and_the_owner_is_told(office: Office, web: WebReceiver):
    web.says(503)
    team, ada = factories.team(), factories.person()
    factories.grant(person=ada, team=team)
    channel = a_channel(web.url, team=team, verified_at=datetime.now(UTC))
    sent, pauses = a_delivery(channel), []
    while sent.state == "pending":
        sent = office.step(sent)
        if sent.next_reconcile_at:
            pauses.append(sent.next_reconcile_at - office.now)
    assert sent.state == "dead"
    assert sent.tries == len(web.received) == len(PAUSES) + 1
    assert pauses == sorted(pauses)
    assert sum(pauses, timedelta()) > timedelta(hours=12)
    told = Notification.objects.get(person=ada)
    assert (told.kind, told.link) == ("channel.broken", "/deliveries?state=dead")
    assert Channel.objects.get().verified_at is None
    assert Delivery.objects.filter(channel=channel).count() == 1  # the channel is not told


def test_nobody_listens(office: Office, web: WebReceiver):
    with web_receiver() as gone:
        url = gone.url
    sent = office.step(a_delivery(a_channel(url)))
    assert sent.state == "pending"
    assert "cannot be reached" in sent.problem


def test_a_receiver_that_never_ends_its_answer_is_left(
    office: Office, web: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhook, "LONGEST", 0.3)

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        import time

        for _ in range(12):
            handler.wfile.write(b".")
            handler.wfile.flush()
            time.sleep(0.1)

    web.pause = drip
    started = datetime.now(UTC)
    sent = office.step(a_delivery(a_channel(web.url)))
    assert datetime.now(UTC) - started < timedelta(seconds=1)
    assert sent.problem == "The receiver did not answer in time."


def test_a_receiver_verifies_as_the_documentation_says(office: Office, web: WebReceiver):
    page = Path("docs/notifications.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len([line for line in code.split("def ")[1].splitlines() if line]) <= 10
    said: dict[str, Any] = {}
    exec(code, said)
    verify = said["verify"]
    office.now = datetime.now(UTC)
    office.step(a_delivery(a_channel(web.url)))
    [request] = web.received
    headers, body = request.headers, request.body
    assert verify(SECRET, headers, body)
    assert not verify("another" + SECRET, headers, body)
    assert not verify(SECRET, headers, body.replace(b"fraud", b"fraub"))
    later = {**headers, "Modelyard-Timestamp": str(int(headers["Modelyard-Timestamp"]) + 1)}
    assert not verify(SECRET, later, body)
    assert not verify(SECRET, headers, body, tolerance=-1)  # as if it had come long ago
