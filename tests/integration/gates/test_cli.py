"""`modelyard policy` and `modelyard evidence`, over HTTP, against the API that answers them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from apps.gates.models import Evidence, Policy
from controlplane.cli.main import main
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.enable_socket]


@pytest.fixture
def modelyard(live_server: Any) -> Any:
    token = factories.token(role="admin")[1]

    def run(*args: str) -> Result:
        return CliRunner().invoke(main, ["--url", live_server.url, "--token", token, *args])

    return run


def test_policies_go_out_to_a_file_are_tried_and_come_back(modelyard: Any, tmp_path: Path) -> None:
    out = modelyard("policy", "get")
    assert out.exit_code == 0, out.output
    assert len(yaml.safe_load(out.stdout)["policies"]) == 12
    file = tmp_path / "policies.yaml"
    file.write_text(out.stdout.replace("longest_days: 7", "longest_days: 3"))
    tried = modelyard("policy", "dry-run", str(file), "--fail-if-stops")
    assert tried.exit_code == 0, tried.output
    assert "production, critical: A waiver holds for at most 72 hours." in tried.output
    assert not Policy.objects.filter(number=2).exists()
    applied = modelyard("--json", "policy", "apply", str(file), "--reason", "Shorter.")
    assert applied.exit_code == 0, applied.output
    assert sum(entry["is_new"] for entry in json.loads(applied.stdout)) == 1
    one = modelyard("policy", "get", "production", "critical")
    assert yaml.safe_load(one.stdout)["policy"]["waivers"] == {"longest_days": 3}


def test_a_policy_that_is_wrong_ends_with_its_place(modelyard: Any, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "environment: dev\nrisk_tier: low\npolicy: {gates: [{gate: x}], approvals: {seats: []}}"
    )
    answer = modelyard("policy", "apply", str(file), "--reason", "r")
    assert answer.exit_code == 1
    assert "gates[0].gate is 'x'" in answer.output
    file.write_text("a: [")
    assert modelyard("policy", "dry-run", str(file)).exit_code == 2


def test_evidence_is_pushed_and_listed(modelyard: Any, tmp_path: Path) -> None:
    model = factories.model(name="iris")
    factories.version(model=model, files={"m.onnx": b"bytes"})
    facts = tmp_path / "facts.json"
    facts.write_text('{"columns": 14}')
    pushed = modelyard(
        "--json", "evidence", "push", "iris", "1", "mltest.data-1", "--passed",
        "--sentence", "14 of 14.", "--facts", f"@{facts}",
    )  # fmt: skip
    assert pushed.exit_code == 0, pushed.output
    row = Evidence.objects.get()
    assert (row.source, row.facts, row.verdict) == ("ci", {"columns": 14}, "passed")
    listed = modelyard("evidence", "list", "iris", "1")
    assert "14 of 14." in listed.output
    refused = modelyard("evidence", "push", "iris", "1", "artifact.digest", "--passed")
    assert refused.exit_code == 1
    assert "Modelyard measures artifact.digest by itself" in refused.output


@pytest.mark.parametrize("facts", ["[1]", "{", "@/nowhere"])
def test_facts_that_are_none_are_a_wrong_command_line(modelyard: Any, facts: str) -> None:
    answer = modelyard("evidence", "push", "iris", "1", "quality.better", "--facts", facts)
    assert answer.exit_code == 2


def test_the_scopes_of_the_page_on_ci_are_enough(live_server: Any) -> None:
    factories.version(model=factories.model(name="iris"), files={"m.onnx": b"bytes"})
    scopes = ["registry.read", "gates.read", "gates.evidence.record"]
    token = factories.token(role="contributor", scopes=scopes)[1]
    push = ["evidence", "push", "iris", "1", "mltest.data-1", "--passed"]
    answer = CliRunner().invoke(main, ["--url", live_server.url, "--token", token, *push])
    assert answer.exit_code == 0, answer.output
    admin = factories.token(role="admin", scopes=["gates.read", "gates.policy.edit"])[1]
    text = CliRunner().invoke(main, ["--url", live_server.url, "--token", admin, "policy", "get"])
    with CliRunner().isolated_filesystem():
        Path("policies.yaml").write_text(text.stdout)
        for verb in (["dry-run"], ["apply", "--reason", "Same."]):
            said = CliRunner().invoke(
                main,
                ["--url", live_server.url, "--token", admin, "policy", *verb, "policies.yaml"],
            )
            assert said.exit_code == 0, said.output
