"""Rollouts on the whole stack: by REST, by the command line and in Chromium, with callers calling.

No caller may notice a rollout, but for what a bad model itself gets wrong.
"""

import json
import re
import time
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from controlplane.cli.client import Client
from controlplane.cli.stack import Stack
from tests.journeys import canaries
from tests.journeys.canaries import LONG, QUICK, Answer, Callers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
NAME = "canary-by-rest"
SOON = 20_000  # milliseconds
GOOD, BAD = 2, 3  # versions
STABLE = "1"  # revision, until the last of these journeys


@pytest.fixture(scope="session")  # the browser's tests run apart from the others
def url(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return where the model is called; its first version is live in staging."""
    graphs = [
        canaries.graph("first"),
        canaries.graph("second"),
        canaries.graph("bad", stumbles=True),
    ]
    canaries.versions(client, NAME, tmp_path_factory.mktemp("canaries"), graphs)
    return canaries.address(client, NAME)


def test_a_bad_canary_is_sent_back_and_only_its_own_mistakes_are_seen(
    client: Client, url: str
) -> None:
    with Callers(url, trips=5).calling() as callers:
        row = canaries.begin(client, NAME, BAD, QUICK)
        found = canaries.until(client, row, lambda r: r["ended_at"])
        assert_stable_alone(callers)
    assert found["state"] == "rolled_back"
    assert "fail" in found["reason"]
    assert {a.status for a in callers.failed()} == {500}
    assert {a.revision for a in callers.failed()}.isdisjoint({STABLE, ""})
    assert kinds(client, row)[-2:] == ["aborted", "restored"]
    assert ledger(client, row)[-2:] == ["rollouts.abort", "rollouts.restore"]


def test_an_abort_by_rest_takes_moments_and_no_request_fails(client: Client, url: str) -> None:
    with Callers(url, rate=100).calling() as callers:
        row = canaries.begin(client, NAME, GOOD, LONG)
        stands_at(client, row, 50)
        decided = time.monotonic()
        client.post(f"{canaries.path(row)}/abort", {"reason": "Complaints."})
        found = canaries.until(client, row, lambda r: r["ended_at"])
        assert_stable_alone(callers)
    assert (found["state"], found["reason"]) == ("rolled_back", "Complaints.")
    assert callers.failed() == []
    by_caller, by_ledger = last_by_candidate(callers) - decided, canaries.settled_after(found)
    print(f"\nabort: callers {by_caller:.2f} s, ledger {by_ledger:.2f} s")
    assert by_caller < 10
    assert by_ledger < 10


def test_an_abort_by_the_command_line_needs_a_reason(
    client: Client, url: str, stack: Stack
) -> None:
    row = canaries.begin(client, NAME, GOOD, LONG)
    stands_at(client, row, 50)
    refused = canaries.modelyard(stack, client, "rollout", "abort", row["id"])
    assert refused.returncode != 0
    assert "reason" in refused.stderr
    done = canaries.modelyard(stack, client, "rollout", "abort", row["id"], "--reason", "By hand.")
    assert done.returncode == 0, done.stderr
    found = canaries.until(client, row, lambda r: r["ended_at"])
    assert (found["state"], found["reason"]) == ("rolled_back", "By hand.")
    told = json.loads(canaries.modelyard(stack, client, "rollout", "events", row["id"]).stdout)
    assert [event["kind"] for event in told][-1] == "restored"


def test_a_page_follows_a_rollout_and_aborts_it(
    client: Client, url: str, stack: Stack, desk: Page
) -> None:
    row = canaries.begin(client, NAME, GOOD, LONG)
    desk.goto(f"{stack.web}/rollouts/{row['id']}")
    desk.evaluate("window.never_reloaded = true")
    badge = desk.locator(".page-title .badge").first
    expect(desk.locator("main")).to_contain_text("On to “50 %”", timeout=SOON * 2)
    expect(badge).to_have_text("Progressing")
    desk.locator("#do-abort").click()
    dialog = desk.get_by_role("dialog")
    dialog.get_by_label("Why").fill("The numbers look odd.")
    assert desk.evaluate("window.never_reloaded")
    dialog.get_by_role("button", name=re.compile("^Abort")).click()
    expect(badge).to_have_text("Rolled back", timeout=SOON)
    expect(desk.locator("main")).to_contain_text("The numbers look odd.")
    assert canaries.until(client, row, lambda r: r["ended_at"])["state"] == "rolled_back"


def test_a_good_canary_is_promoted_and_open_pages_hear_of_every_step(
    client: Client, url: str
) -> None:
    with Callers(url, rate=100).calling() as callers:
        row = canaries.begin(client, NAME, GOOD, QUICK)
        with canaries.listening(client, f"rollout/{row['id']}") as heard:
            begun = datetime.now().astimezone()
            found = canaries.until(client, row, lambda r: r["ended_at"])
            time.sleep(1)
        assert found["state"] == "promoted", found
        at = time.monotonic()
        time.sleep(1)
        assert len({a.revision for a in callers.since(at)}) == 1
    assert callers.failed() == []
    events = canaries.story(client, row)
    assert [event["kind"] for event in events] == [
        "begun", "fits", "seen", "advanced", "seen", "promoted", "settled",
    ]  # fmt: skip
    assert_no_hold_was_cut_short(events)
    later = [e for e in events if datetime.fromisoformat(e["at"]) > begun]
    found_lags = canaries.lags(later, heard)
    print(f"\nheard after: {[round(lag, 2) for lag in found_lags]} s")
    assert max(found_lags) < 5
    assert ledger(client, row)[-2:] == ["rollouts.promote", "rollouts.settle"]


def stands_at(client: Client, row: Any, weight: int) -> None:
    """Wait until the candidate is seen to answer so much."""
    canaries.until(client, row, lambda r: r["weight"] == weight)


def assert_stable_alone(callers: Callers) -> None:
    """From now on, stable answers everything, and well."""
    at = time.monotonic()
    time.sleep(1)
    answers: list[Answer] = callers.since(at)
    assert len(answers) > 10
    assert {(a.status, a.revision) for a in answers} == {(200, STABLE)}


def assert_no_hold_was_cut_short(events: list[Any]) -> None:
    """From the moment a step was seen, until the next was asked for."""
    holds = [step["hold_seconds"] for step in QUICK["steps"]]  # type: ignore[index, attr-defined]
    moments = [datetime.fromisoformat(e["at"]) for e in events if e["kind"] == "seen"]
    left = [
        datetime.fromisoformat(e["at"]) for e in events if e["kind"] in ("advanced", "promoted")
    ]
    for hold, seen, gone in zip(holds, moments, left, strict=True):
        assert (gone - seen).total_seconds() >= hold


def last_by_candidate(callers: Callers) -> float:
    """Return when the last request was asked that stable did not answer."""
    return max(a.asked_at for a in callers.answers if a.revision != STABLE)


def kinds(client: Client, row: Any) -> list[str]:
    return [event["kind"] for event in canaries.story(client, row)]


def ledger(client: Client, row: Any) -> list[str]:
    """Return the verbs that the ledger has of a rollout, oldest first."""
    events = client.pages("/api/v1/audit-events", target=f"rollout/{row['id']}")
    return [event["verb"] for event in events][::-1]
