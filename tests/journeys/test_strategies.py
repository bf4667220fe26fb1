"""The other strategies on the whole stack, and a canary that a person drives, with callers.

Linear, shadow, A/B, bandit and recreate: canary and blue-green by themselves have journeys of
their own. Who answers is learnt from the answers.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from controlplane.cli.client import Client
from controlplane.cli.stack import Stack
from tests.journeys import canaries
from tests.journeys.canaries import ERRORS, Answer, Callers, Json

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
NAME = "every-strategy"
SOON = 30_000  # milliseconds
TWINS, OTHER = (1, 2), 3  # versions: two that answer alike, and one that answers otherwise
ACCEPTED = {"name": "accepted"}
STICKY = {"by": "header", "name": "x-user-id"}
DIFFERENT = {"name": "answers", "source": "disagreement", "tolerance": {"absolute": 0.02},
             "margin": {"absolute": 0.1}}  # fmt: skip


@pytest.fixture(scope="session")
def url(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return where the model is called; its first version is live in staging."""
    graphs = [
        canaries.graph("first"),
        canaries.graph("second"),
        canaries.graph("other", adds=50.0),
    ]
    canaries.versions(client, NAME, tmp_path_factory.mktemp("strategies"), graphs)
    return canaries.address(client, NAME)


def test_a_shadow_that_answers_otherwise_serves_nobody_and_goes_back(
    client: Client, url: str
) -> None:
    strategy = {"kind": "shadow", "hold_seconds": 3, "metrics": [DIFFERENT]}
    with Callers(url).calling() as callers:
        row = canaries.begin(client, NAME, OTHER, strategy)
        found = until(client, row, lambda r: r["ended_at"])
    assert found["state"] == "rolled_back"
    assert "otherwise than stable" in found["reason"]
    metrics = client.get(canaries.path(row))["strategy"]["metrics"]
    assert [metric["source"] for metric in metrics] == ["disagreement"]
    assert callers.failed() == []
    assert len({a.revision for a in callers.answers}) == 1


def test_a_shadow_that_answers_alike_asks_a_person_who_says_yes_on_the_page(
    client: Client, url: str, stack: Stack, desk: Page
) -> None:
    strategy = {"kind": "shadow", "hold_seconds": 3, "metrics": [DIFFERENT]}
    with Callers(url).calling() as callers:
        row = canaries.begin(client, NAME, twin(client), strategy)
        until(client, row, lambda r: (r["pause"] or {}).get("kind") == "step")
        assert len({a.revision for a in callers.answers}) == 1
        desk.goto(f"{stack.web}/rollouts/{row['id']}")
        desk.locator("#do-resume").click()
        desk.get_by_role("dialog").get_by_role("button", name="Resume the rollout").click()
        expect(desk.locator(".page-title .badge").first).to_have_text("Promoted", timeout=SOON)
    assert callers.failed() == []


def test_linear_climbs_in_equal_steps(client: Client, url: str) -> None:
    strategy = {"kind": "linear", "by": 25, "hold_seconds": 2, "metrics": [ERRORS]}
    with Callers(url, rate=100).calling() as callers:
        row = canaries.begin(client, NAME, twin(client), strategy)
        found = until(client, row, lambda r: r["ended_at"])
    assert found["state"] == "promoted", found
    assert [step["weight"] for step in found["steps"]] == [25, 50, 75]
    seen = [e["sentence"] for e in canaries.story(client, row) if e["kind"] == "seen"]
    assert len(seen) == 3
    assert callers.failed() == []


def test_a_person_pauses_resumes_skips_and_promotes_by_three_doors(
    client: Client, url: str, stack: Stack, desk: Page
) -> None:
    hour = [{"weight": weight, "hold_seconds": 3600} for weight in (5, 25, 50)]
    strategy = {"kind": "canary", "metrics": [ERRORS], "steps": hour}
    with Callers(url).calling() as callers:
        row = canaries.begin(client, NAME, twin(client), strategy)
        until(client, row, lambda r: r["weight"] == 5)
        desk.goto(f"{stack.web}/rollouts/{row['id']}")
        desk.locator("#do-pause").click()
        dialog = desk.get_by_role("dialog")
        dialog.get_by_label("Why").fill("Lunch.")
        dialog.get_by_role("button", name="Pause the rollout").click()
        expect(desk.locator(".page-title .badge").first).to_have_text("Paused", timeout=SOON)
        expect(desk.locator("main")).to_contain_text("Lunch.")
        paused = client.get(canaries.path(row))
        assert (paused["pause"]["kind"], paused["weight"]) == ("person", 5)
        by_command(stack, client, "resume", row)
        until(client, row, lambda r: r["state"] == "progressing")
        by_command(stack, client, "skip", row, "--reason", "Seen enough.")
        until(client, row, lambda r: r["weight"] == 25)
        client.post(f"{canaries.path(row)}/promote", {"reason": "It is good."})
        found = until(client, row, lambda r: r["ended_at"])
    assert found["state"] == "promoted"
    assert callers.failed() == []
    done = ["paused", "resumed", "skipped", "advanced", "promoted", "settled"]
    assert [e["kind"] for e in canaries.story(client, row) if e["kind"] in done] == done


def by_command(stack: Stack, client: Client, verb: str, row: Json, *more: str) -> None:
    """Act on a rollout by the command line."""
    done = canaries.modelyard(stack, client, "rollout", verb, row["id"], *more)
    assert done.returncode == 0, done.stderr


def test_an_experiment_keeps_callers_on_their_side_and_the_better_takes_over(
    client: Client, url: str
) -> None:
    strategy = {
        "kind": "ab", "hypothesis": "More people accept the offer.", "metric": ACCEPTED,
        "sticky": STICKY, "metrics": [ERRORS],
    }  # fmt: skip
    endpoint = canaries.endpoint(client, NAME)
    before = str(endpoint["serves"]["revision"])
    with (
        Callers(url, users=40).calling() as callers,
        canaries.telling(
            client, endpoint["id"], callers, lambda a: 0.2 if a.revision == before else 0.8
        ),
    ):
        row = canaries.begin(client, NAME, twin(client), strategy)
        until(client, row, lambda r: r["weight"] == 50)
        at = time.monotonic()
        time.sleep(4)
        kept = callers.since(at)
        found = until(client, row, lambda r: r["ended_at"])
    sides: dict[int, set[str]] = {}
    for answer in kept:
        sides.setdefault(answer.user, set()).add(answer.revision)
    assert len(sides) == 40
    assert {len(revisions) for revisions in sides.values()} == {1}
    assert len(set.union(*sides.values())) == 2
    assert found["state"] == "promoted", found
    assert callers.failed() == []


def test_a_bandit_by_the_command_line_gives_each_segment_the_better_arm(
    client: Client, url: str, stack: Stack, tmp_path: Path
) -> None:
    strategy = {
        "kind": "bandit", "metric": ACCEPTED, "floor": 10, "every_seconds": 5, "metrics": [ERRORS],
        "segments": {"header": "x-country", "values": ["de", "fr"]},
    }  # fmt: skip
    file = tmp_path / "bandit.json"
    file.write_text(json.dumps(strategy))
    endpoint = canaries.endpoint(client, NAME)
    before = str(endpoint["serves"]["revision"])

    def accepted(answer: Answer) -> float:
        return 0.6 if (answer.revision == before) == (answer.country == "fr") else 0.3

    with (
        Callers(url, rate=20, countries=("de", "fr")).calling() as callers,
        canaries.telling(client, endpoint["id"], callers, accepted),
    ):
        proposed = canaries.modelyard(
            stack, client, "propose", NAME, str(twin(client)), "--to", canaries.WHERE,
            "--strategy", f"@{file}", "--variant", "native", "--summary", "For the journey.",
        )  # fmt: skip
        assert proposed.returncode == 0, proposed.stderr
        row = canaries.rollout_of(client, NAME, json.loads(proposed.stdout)["number"])
        until(client, row, lambda r: r["segments"].get("de", 0) > 60 > 40 > r["segments"]["fr"])
        at = time.monotonic()
        time.sleep(8)
        split = callers.since(at)
        assert client.get(canaries.path(row))["state"] == "progressing", "one for all would cost"
        by_command(stack, client, "promote", row, "--reason", "It earns more.")
        found = until(client, row, lambda r: r["ended_at"])
    assert found["state"] == "promoted", found
    new = {c: [a.revision != before for a in split if a.country == c] for c in ("de", "fr")}
    assert sum(new["de"]) / len(new["de"]) > 0.5 > sum(new["fr"]) / len(new["fr"])
    assert "reallocated" in [e["kind"] for e in canaries.story(client, row)]
    assert callers.failed() == []


def test_recreate_says_how_long_nobody_answers_and_nobody_answers_only_then(
    client: Client, url: str
) -> None:
    with Callers(url, rate=20).calling() as callers:
        row = canaries.begin(client, NAME, OTHER, {"kind": "recreate"})  # nothing of it is warm
        found = until(client, row, lambda r: r["ended_at"])
        assert found["state"] == "promoted", found
        at = time.monotonic()
        time.sleep(2)
        after = callers.since(at)
    assert {a.status for a in after} == {200}
    assert len({a.revision for a in after}) == 1
    failed = [a.asked_at for a in callers.failed()]
    assert failed, "there was an outage"
    within = [a for a in callers.answers if min(failed) < a.asked_at < max(failed)]
    assert {a.status for a in within if a.status != 200} <= {503}
    assert found["fit"]["outage"] is not None


def until(client: Client, rollout: Json, so: Callable[[Json], bool]) -> Json:
    """Wait until something is so of a rollout, nearly as long as callers call."""
    return canaries.until(client, rollout, so, seconds=170)


def twin(client: Client) -> int:
    """Return the version that answers like the one that is live."""
    live = canaries.endpoint(client, NAME)["serves"]["version"]
    return next(number for number in TWINS if number != live)
