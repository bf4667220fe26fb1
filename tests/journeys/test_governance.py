"""A release by REST and by the command line: proposed, changed, approved by two, and live."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.client import Client, Problem
from controlplane.cli.stack import Stack
from tests.journeys import governing

pytestmark = pytest.mark.stack
NAME = "wine-by-rest"


@pytest.fixture(scope="module")
def version(client: Client, tmp_path_factory: pytest.TempPathFactory) -> int:
    return governing.model(client, tmp_path_factory.mktemp("wine"), NAME)


@pytest.fixture(scope="module")
def ada(stack: Stack, people: dict[str, dict[str, str]]) -> Iterator[Client]:
    opened = Client(stack.web, people["ada"]["token"], patience=60)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def grace(stack: Stack, people: dict[str, dict[str, str]]) -> Iterator[Client]:
    opened = Client(stack.web, people["grace"]["token"], patience=60)
    yield opened
    opened.close()


def modelyard(stack: Stack, token: str, *arguments: str) -> dict[str, Any]:
    """Run the command line as somebody, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli.main", "--json", *arguments],
        env={"MODELYARD_URL": stack.web, "MODELYARD_TOKEN": token, "PATH": "/usr/bin:/bin",
             "PYTHONPATH": "platform:."},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_from_a_proposal_to_live_by_two_people(
    stack: Stack, version: int, ada: Client, grace: Client, people: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    body = {"model": NAME, "version": version, "environment": "production", "summary": "First."}
    number = int(ada.post("/api/v1/releases", body)["number"])
    assert ada.post("/api/v1/releases", body)["number"] == number
    row = governing.settled(ada, number, "awaiting_approval")
    assert {g["gate"]: g["state"] for g in row["gates"]} == dict.fromkeys(
        ("artifact.scanned", "artifact.digest", "variant.parity", "card.complete"), "passed"
    )

    # Grace asks for changes; Ada makes one, and what Grace saw is void.
    seen = row["digest"]
    says = {"digest": seen, "reason": "Two replicas, please."}
    grace.post(f"/api/v1/releases/{number}/request-changes", says)
    ada._ask("PATCH", f"/api/v1/releases/{number}", json={"replicas": 2, "reason": "As asked."})
    with pytest.raises(Problem) as refused:
        grace.post(f"/api/v1/releases/{number}/approve", {"digest": seen})
    assert refused.value.code in ("approvals.changed", "releases.not_waiting")
    row = ada.wait(
        f"/api/v1/releases/{number}",
        lambda r: r["state"] == "awaiting_approval" and not r["decisions"],
        seconds=60,
    )
    assert row["digest"] != seen

    # Ada cannot approve her own; Grace and Lin can, one by REST and one by the command line.
    with pytest.raises(Problem) as own:
        ada.post(f"/api/v1/releases/{number}/approve", {"digest": row["digest"]})
    assert own.value.status == 403
    grace.post(f"/api/v1/releases/{number}/approve", {"digest": row["digest"]})
    waiting = [r["title"] for r in modelyard(stack, people["lin"]["token"], "inbox")["results"]]
    assert f"R-{number}: {NAME} v{version} to production" in waiting
    modelyard(stack, people["lin"]["token"], "release", "approve", str(number))
    row = governing.settled(ada, number, "live")

    endpoint = ada.get("/api/v1/endpoints", model=NAME, environment="production")["results"][0]
    assert endpoint["serves"]["version"] == version
    model = ada.get(f"/api/v1/models/{NAME}")
    assert model["aliases"] == {"champion": version}
    story = [e["verb"] for e in ada.pages("/api/v1/audit-events", target=f"release/{row['id']}")]
    assert {"approvals.void", "approvals.grant", "releases.go_live"} <= set(story)
    file = tmp_path / "release.zip"
    file.write_bytes(ada.download(f"/releases/{number}/bundle"))
    assert verified(ada, file, tmp_path / "key.pem")


def verified(client: Client, file: Path, key: Path) -> bool:
    """Hold a bundle against the public key, without asking the system anything else."""
    pems = [k["pem"] for k in client.get("/api/v1/audit-key")["keys"] if k["use"] == "bundle"]
    key.write_text(pems[0])
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli.main", "bundle", "verify", str(file),
         "--key", str(key)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "platform:."},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode == 0


def test_nobody_gets_past_it_to_a_protected_place(version: int, client: Client) -> None:
    """Whoever they are: this is the admin."""
    body = {"model": NAME, "version": version, "environment": "production"}
    with pytest.raises(Problem) as served:
        client.post("/api/v1/endpoints/serve", body)
    assert served.value.code == "endpoint.needs_release"
    with pytest.raises(Problem) as moved:
        client.put(f"/api/v1/models/{NAME}/aliases/Champion", {"version": version})
    assert moved.value.code == "registry.alias_protected"


def test_a_waiver_lets_a_release_pass_until_it_ends(
    client: Client, ada: Client, grace: Client, tmp_path: Path
) -> None:
    name = "wine-without-a-card"
    version = governing.model(client, tmp_path, name, card="")
    body = {"model": name, "version": version, "environment": "production"}
    number = int(ada.post("/api/v1/releases", body)["number"])
    row = ada.wait(
        f"/api/v1/releases/{number}",
        lambda r: [g["gate"] for g in r["gates"] if g["state"] == "failed"] == ["card.complete"],
        seconds=60,
    )
    waiver = {
        "checklist": row["checklist"],
        "gate": "card.complete",
        "reason": "The card is being written.",
        "expires_at": (datetime.now(UTC) + timedelta(seconds=25)).isoformat(),
    }
    with pytest.raises(Problem) as own:
        ada.post("/api/v1/waivers", waiver)
    assert own.value.status == 403
    grace.post("/api/v1/waivers", waiver)
    row = governing.settled(ada, number, "awaiting_approval")
    grace.post(f"/api/v1/releases/{number}/approve", {"digest": row["digest"]})
    row = governing.settled(ada, number, "checking", seconds=90)
    assert row["missing"][0]["part"] == "gates"


def test_breaking_the_glass_is_at_once_and_loud(
    client: Client, ada: Client, stack: Stack, people: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    name = "wine-on-fire"
    version = governing.model(client, tmp_path, name, card="")
    body = {"model": name, "version": version, "environment": "production"}
    number = int(ada.post("/api/v1/releases", body)["number"])
    with pytest.raises(Problem) as refused:
        ada.post(f"/api/v1/releases/{number}/break-glass", {"reason": "Now!"})
    assert refused.value.status == 403
    modelyard(
        stack, people["lin"]["token"], "release", "break-glass", str(number), "--yes",
        "--reason", "The old one answers nonsense.",
    )  # fmt: skip
    row = governing.settled(ada, number, "live")
    assert row["emergency"]["review_due_at"]
    told = [n["kind"] for n in ada.pages("/api/v1/notifications")]
    assert "release.emergency" in told
