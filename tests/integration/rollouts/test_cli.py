"""`modelyard rollout`, `strategy` and `propose --strategy`, over HTTP, against the real API."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from django.db import connection
from django.utils import timezone

from apps.releases.models import Release
from apps.rollouts.models import Rollout
from controlplane.cli import rollouts
from controlplane.cli.main import main
from tests import factories, governed, rollouting

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.enable_socket]
Modelyard = Callable[..., Result]


@pytest.fixture
def modelyard(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Modelyard:
    monkeypatch.setattr(rollouts, "EVERY", 0.05)
    token = factories.token(role="admin")[1]

    def run(*args: str) -> Result:
        return CliRunner().invoke(main, ["--url", live_server.url, "--token", token, *args])

    return run


def test_rollouts_are_listed_shown_and_their_log_read(modelyard: Modelyard) -> None:
    row = rollouting.rollout(waits_for="The step's minimum hold.")
    over = rollouting.rollout(state="promoted", ended_at=timezone.now())
    rollouting.event(row, "begun", "It begins.")
    rollouting.event(row, "fits", "It fits.")
    listed = json.loads(modelyard("--json", "rollout", "list").stdout)
    assert [found["id"] for found in listed] == [row.public_id]
    everything = json.loads(modelyard("--json", "rollout", "list", "--all").stdout)
    assert {found["id"] for found in everything} == {row.public_id, over.public_id}
    shown = modelyard("rollout", "status", row.public_id)
    assert shown.exit_code == 0, shown.output
    assert "→" in shown.output
    assert "Waits: The step's minimum hold." in shown.output
    log = modelyard("rollout", "events", row.public_id).output
    assert log.index("It begins.") < log.index("It fits.")


def test_a_person_pauses_resumes_skips_promotes_and_aborts(modelyard: Modelyard) -> None:
    row = rollouting.rollout()
    for verb, state in (
        ("pause", "paused"), ("resume", "progressing"), ("skip", "progressing"),
        ("promote", "promoting"), ("abort", "rolling_back"),
    ):  # fmt: skip
        answer = modelyard("--json", "rollout", verb, row.public_id, "--reason", "Because.")
        assert answer.exit_code == 0, answer.output
        assert json.loads(answer.stdout)["state"] == state
    refused = modelyard("rollout", "pause", row.public_id, "--reason", "Late.")
    assert refused.exit_code == 1
    assert "rollout.illegal_move" in refused.output


def test_a_verb_without_a_reason_is_a_wrong_command_line(modelyard: Modelyard) -> None:
    row = rollouting.rollout()
    assert modelyard("rollout", "abort", row.public_id).exit_code == 2


def test_waiting_ends_when_it_is_promoted(modelyard: Modelyard) -> None:
    row = rollouting.rollout()
    later = threading.Timer(0.3, _end, [row.pk, "promoted", ""])
    later.start()
    answer = modelyard("rollout", "wait", row.public_id, "--until", "promoted")
    later.join()
    assert answer.exit_code == 0, answer.output
    assert "Everything moved." in answer.output, "what happens meanwhile is told"


def test_waiting_for_what_will_never_be_ends_with_the_reason(modelyard: Modelyard) -> None:
    row = rollouting.rollout(state="rolled_back", ended_at=timezone.now(), reason="It was slow.")
    answer = modelyard("rollout", "wait", row.public_id)
    assert answer.exit_code == 1
    assert "It was slow." in answer.output
    assert modelyard("rollout", "wait", row.public_id, "--until", "ended").exit_code == 0


def test_waiting_too_long_is_a_code_of_its_own(modelyard: Modelyard) -> None:
    row = rollouting.rollout()
    answer = modelyard("rollout", "wait", row.public_id, "--timeout", "0.1")
    assert answer.exit_code == 3
    assert "still progressing" in answer.output


def test_templates_are_listed_and_a_strategy_is_previewed(
    modelyard: Modelyard, tmp_path: Path
) -> None:
    listed = modelyard("strategy", "templates", "staging")
    assert "careful-canary" in listed.output
    assert "Takes at least 40" in modelyard("strategy", "preview", "careful-canary").output
    file = tmp_path / "strategy.yaml"
    file.write_text("kind: canary\nsteps:\n- {weight: 15, hold_seconds: 90}\n")
    shown = json.loads(modelyard("--json", "strategy", "preview", f"@{file}").stdout)
    assert [step["weight"] for step in shown["steps"]] == [15]
    unknown = modelyard("strategy", "preview", "leap")
    assert unknown.exit_code == 1
    assert "It has: blue-green" in unknown.output


@pytest.mark.parametrize("text", ["[1]", "a: [", None])
def test_a_file_that_holds_no_strategy_is_a_wrong_command_line(
    modelyard: Modelyard, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "strategy.yaml"
    if text is not None:
        file.write_text(text)
    assert modelyard("strategy", "preview", f"@{file}").exit_code == 2


def test_a_release_is_proposed_with_a_kind_a_template_or_a_file(
    modelyard: Modelyard, tmp_path: Path
) -> None:
    house = governed.house()
    file = tmp_path / "strategy.json"
    file.write_text('{"kind": "linear", "by": 50}')
    kept = []
    for how in ("blue_green", "quick-canary", f"@{file}"):
        answer = modelyard("propose", house.model.name, "1", "--strategy", how)
        assert answer.exit_code == 0, answer.output
        kept.append(Release.objects.order_by("-number")[0].strategy)
    assert [row["kind"] for row in kept] == ["blue_green", "canary", "linear"]
    assert [step["weight"] for step in kept[1]["steps"]] == [10, 50]
    assert kept[2]["by"] == 50


def _end(pk: int, state: str, reason: str) -> None:
    row = Rollout.objects.get(pk=pk)
    rollouting.event(row, "settled", "Everything moved.")
    Rollout.objects.filter(pk=pk).update(state=state, ended_at=timezone.now(), reason=reason)
    connection.close()


def test_a_rehearsal_is_begun_and_not_waited_for_when_told_so(modelyard: Modelyard) -> None:
    revision = factories.revision(endpoint=factories.endpoint(environment="staging"))
    answer = modelyard(
        "--json", "rollout", "rehearse", revision.endpoint.name, "1", "--environment", "staging",
        "--reason", "Before the release.", "--no-wait",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    begun = json.loads(answer.stdout)
    assert (begun["rehearsal"], begun["state"]) == (True, "pending")
