"""A channel in a real Chromium: made, tried, found wanting, and what became of the message."""

import re

import pytest
from playwright.sync_api import Page, expect

from controlplane.cli.stack import Stack

pytestmark = pytest.mark.stack
SOON = 20_000  # milliseconds
REFUSED = "127.0.0.1 is 127.0.0.1, an address of this machine or its network."


def test_a_channel_into_our_own_network_is_refused_by_the_worker_and_the_page_says_so(
    desk: Page, stack: Stack
) -> None:
    desk.goto(f"{stack.web}/settings/notifications")
    expect(desk.locator("#channels")).to_contain_text("There is no channel yet")
    form = desk.locator("#new-channel")
    form.get_by_label("Whose").select_option("platform")
    form.get_by_role("radio", name="Webhook").check()
    form.get_by_label("Name", exact=True).fill("inside")
    form.get_by_label("Address", exact=True).fill("https://127.0.0.1:1/hook?key=s3cret")
    form.get_by_role("checkbox", name="On call").check()
    form.get_by_role("button", name="Make the channel").click()
    expect(desk.locator("#secret")).to_have_text(re.compile("[0-9a-f]{64}"))

    desk.get_by_role("button", name="Test inside").click()
    row = desk.locator("#channels tbody tr")
    expect(row).to_contain_text("It does not", timeout=SOON)  # the page learns of it by itself
    expect(row).to_contain_text(REFUSED)
    assert "s3cret" not in desk.content()

    desk.goto(f"{stack.web}/deliveries")
    expect(desk.locator("h1")).to_have_text("1 message did not arrive")
    desk.get_by_role("button", name="Send again").click()
    row = desk.locator("tbody tr").first
    expect(row).to_contain_text("1 replay")
    expect(row).to_contain_text("Dead letter", timeout=SOON)

    desk.goto(f"{stack.web}/audit")
    expect(desk.locator("main")).to_contain_text("the channel inside")


def test_the_bell_leads_to_what_one_was_told(desk: Page, stack: Stack) -> None:
    desk.get_by_role("link", name="Notifications", exact=True).click()
    expect(desk).to_have_url(f"{stack.web}/notifications")
    expect(desk.locator("h1")).to_be_visible()
