"""Deliveries by Apprise, to a receiver that really listens."""

import json
from pathlib import Path

import pytest

from apps.notifications.domain import addresses
from tests.integration.notifications.conftest import PUBLIC_URL, Office, a_channel, a_delivery
from tests.receivers import WebReceiver

pytestmark = pytest.mark.django_db


def test_apprise_carries_a_message(office: Office, web: WebReceiver):
    channel = a_channel(f"json://127.0.0.1:{web.port}/x", transport="apprise")
    sent = office.step(a_delivery(channel, payload={"urgent": True}))
    assert (sent.state, sent.receipt) == ("delivered", "taken by JSON")
    said = json.loads(web.received[0].body)
    assert said["title"] == "fraud-score v3 waits for you"
    assert f"{PUBLIC_URL}/releases/12" in said["message"]
    assert said["type"] == "failure"


@pytest.mark.parametrize(("status", "state"), [(503, "pending"), (403, "dead")])
def test_what_apprise_was_answered_is_kept(
    office: Office, web: WebReceiver, status: int, state: str
):
    web.says(status)
    channel = a_channel(f"json://127.0.0.1:{web.port}/x", transport="apprise")
    sent = office.step(a_delivery(channel))
    assert sent.state == state
    assert f"The receiver answered {status}" in sent.problem


def test_the_documentation_names_every_service(office: Office):
    page = Path("docs/notifications.md").read_text()
    for scheme in addresses.HOSTED | addresses.SELF_HOSTED - addresses.PLAIN:
        assert scheme in page or f"{scheme[:-1]}(s)" in page, scheme
