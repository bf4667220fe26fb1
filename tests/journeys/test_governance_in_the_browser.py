"""A release in a real Chromium: three people, one page, and nobody else's word."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect

from controlplane.cli.client import Client
from controlplane.cli.stack import Stack
from tests.journeys import governing

pytestmark = pytest.mark.stack
NAME = "wine-by-browser"
SOON = 60_000  # milliseconds
Desk = Callable[[str], Page]


@pytest.fixture(scope="module")
def version(client: Client, tmp_path_factory: pytest.TempPathFactory) -> int:
    return governing.model(client, tmp_path_factory.mktemp("wine"), NAME)


@pytest.fixture
def desk(browser: Browser, stack: Stack, people: dict[str, dict[str, str]]) -> Iterator[Desk]:
    """Return a way to sit down as somebody, each in a browser of their own."""
    open_: dict[str, Page] = {}
    problems: list[str] = []

    def sit(name: str) -> Page:
        if name in open_:
            return open_[name]
        page = browser.new_context().new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{stack.web}/sign-in")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(people[name]["password"])
        page.get_by_role("button", name="Sign in").click()
        expect(page).not_to_have_url(re.compile("/sign-in"))
        open_[name] = page
        return page

    yield sit
    for page in open_.values():
        page.context.close()
    assert problems == []


def badge(page: Page) -> Any:
    return page.locator(".page-title .badge").first


def test_proposed_changed_approved_by_two_and_live(desk: Desk, stack: Stack, version: int) -> None:
    ada = desk("ada")
    ada.goto(f"{stack.web}/releases/new?model={NAME}&version={version}&environment=production")
    ada.locator("[name=summary]").fill("Our first in production.")
    ada.get_by_role("button", name="Propose it").click()
    expect(ada).to_have_url(re.compile(r"/releases/\d+$"))
    url = ada.url
    # Gates run by themselves, and the page learns of it without being asked.
    expect(badge(ada)).to_have_text("Awaiting approval", timeout=SOON)
    expect(ada.get_by_role("button", name="Approve this release")).to_be_disabled()

    grace = desk("grace")
    grace.goto(f"{stack.web}/inbox")
    grace.get_by_role("link", name=re.compile(NAME)).first.click()
    expect(grace).to_have_url(re.compile(f"^{re.escape(url)}(#|$)"))
    grace.get_by_label("Reason").first.fill("Two replicas, please.")
    grace.get_by_role("button", name="Ask for changes").click()
    expect(grace.locator("#discussion")).to_contain_text("Two replicas, please.")

    ada.goto(f"{url}/revise")
    ada.get_by_label("Replicas").fill("2")
    ada.get_by_role("button", name="Change it").click()
    expect(ada).to_have_url(re.compile(f"^{re.escape(url)}(#|$)"))
    expect(ada.locator("#discussion")).to_contain_text(
        re.compile("replicas", re.IGNORECASE), timeout=SOON
    )

    for name in ("grace", "lin"):
        page = desk(name)
        page.goto(url)
        approve = page.get_by_role("button", name="Approve this release")
        expect(approve).to_be_enabled(timeout=SOON)
        page.get_by_label("Reason").first.fill("Fine.")
        approve.click()
        expect(page.locator("#decide")).to_contain_text("Fine.", timeout=SOON)
    expect(badge(ada)).to_have_text("Live", timeout=SOON)


def test_a_waiver_and_breaking_the_glass(
    desk: Desk, stack: Stack, client: Client, tmp_path: Any
) -> None:
    name = "wine-in-a-hurry"
    version = governing.model(client, tmp_path, name, card="")
    ada = desk("ada")
    ada.goto(f"{stack.web}/releases/new?model={name}&version={version}&environment=production")
    ada.get_by_role("button", name="Propose it").click()
    url = ada.url
    gate = "#gate-card-complete"
    grace = desk("grace")
    grace.goto(url)
    expect(grace.locator(f'{gate}[data-state="failed"]')).to_be_visible(timeout=SOON)
    grace.locator(f"{gate} > summary").click()
    grace.locator(f"{gate} summary", has_text="Waive this gate").click()
    grace.get_by_label("Why it may ship without").fill("The card is being written.")
    grace.get_by_label("For how many days").fill("1")
    grace.get_by_role("button", name="Waive it").click()
    expect(grace.locator('.gate[data-state="waived"]').first).to_be_visible(timeout=SOON)
    expect(badge(grace)).to_have_text("Awaiting approval", timeout=SOON)

    lin = desk("lin")
    lin.goto(f"{url}/break-glass")
    lin.get_by_label("What is broken, and why it cannot wait").fill("The old one is wrong.")
    lin.get_by_label("Type the model's name").fill(name)
    lin.get_by_role("button", name="Ship without approval").click()
    expect(lin).to_have_url(re.compile(f"^{re.escape(url)}(#|$)"))
    expect(badge(lin)).to_have_text("Live", timeout=SOON)
    expect(lin.locator("main")).to_contain_text(re.compile("broke the glass", re.IGNORECASE))


def test_a_change_while_a_part_is_on_its_way_is_shown_after_it(
    desk: Desk, stack: Stack, client: Client, version: int
) -> None:
    """The part's answer is from before the change; its page may not keep it for ever."""
    proposed = client.post(
        "/api/v1/releases",
        {"model": NAME, "version": version, "environment": "production", "summary": "Too early."},
    )
    governing.settled(client, proposed["number"], "awaiting_approval")
    ada = desk("ada")
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        answer = route.fetch()
        if held:
            route.fulfill(response=answer)
        else:
            held.append((route, answer))

    ada.route(re.compile(r"/releases/\d+\?part=head"), hold)
    ada.goto(f"{stack.web}/releases/{proposed['number']}")
    while not held:
        ada.wait_for_timeout(50)
    client.post(f"/api/v1/releases/{proposed['number']}/withdraw", {"reason": "Too early."})
    ada.wait_for_timeout(3_000)  # it is heard of; a second look would wait behind the first
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(badge(ada)).to_have_text("Withdrawn", timeout=10_000)
