"""The pipelines of docs/ci.md: their YAML reads, and every command in them is one that exists."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from apps.accounts.domain import access
from apps.gates.api.serializers import SendEvidence
from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.mltest import BY_KEY
from controlplane.cli.main import main

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "ci.md").read_text()
FILES = ("model.onnx", "metrics.json", "features.xml", "schema.txt", "policies.yaml")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


def scripts(value: Any) -> Iterator[str]:
    """Yield the text of every `run` and every line of every `script`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "run" and isinstance(inner, str):
                yield inner
            elif name == "script" and isinstance(inner, list):
                yield from inner
            else:
                yield from scripts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scripts(inner)


def commands() -> list[list[str]]:
    """Return the arguments of every `modelyard` in the pipelines, variables filled in."""
    found = []
    for block in blocks("yaml"):
        for script in scripts(yaml.safe_load(block)):
            for line in re.findall(r"modelyard (?!-r)([^|)&;\n]+)", script.replace("\\\n", " ")):
                said = line.replace("$said", "--passed")
                found.append(shlex.split(re.sub(r"\$\{?\w+\}?", "1", said)))
    return [args for args in found if args and args[0] != "-r"]


def parse(command: click.Command, args: list[str], parent: click.Context | None) -> click.Context:
    """Return the context of the innermost command, parsed as the shell would call it."""
    context = command.make_context(command.name or "modelyard", list(args), parent=parent)
    if not isinstance(command, click.Group):
        return context
    rest = [*context._protected_args, *context.args]
    _, inner, left = command.resolve_command(context, rest)
    assert inner is not None
    return parse(inner, left, context)


def test_both_pipelines_and_the_policies_job_are_yaml() -> None:
    read = [yaml.safe_load(block) for block in blocks("yaml")]
    assert [len(list(scripts(entry))) > 0 for entry in read] == [True, True, True]


def test_the_pipelines_call_what_they_are_about() -> None:
    called = {" ".join(args[:2]) for args in commands()}
    assert {"evidence push", "propose card-fraud-score", "policy apply"} <= called
    assert len(commands()) >= 12


@pytest.mark.parametrize("args", commands(), ids=" ".join)
def test_every_command_parses(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).write_text("{}")
    context = parse(main, ["--token", "x", *args], None)
    if "key" in context.params:
        assert context.params["key"] in {*CATALOGUE, *BY_KEY}


def test_the_body_that_curl_sends_is_one_that_the_api_takes() -> None:
    (block,) = blocks("sh")
    found = re.search(r"-d '(.*?)'", block, re.S)
    assert found
    serializer = SendEvidence(data=json.loads(found[1]))
    assert serializer.is_valid(), serializer.errors


def test_every_key_that_is_named_exists_and_takes_evidence() -> None:
    named = set(re.findall(r"`((?:mltest|quality|artifact|rollback|monitoring|runbook|data|drift)"
                           r"\.[a-z0-9-]+)`", TEXT))  # fmt: skip
    for key in named:
        assert key in BY_KEY or CATALOGUE[key].sent, key


def test_every_scope_that_is_named_exists() -> None:
    named = re.findall(r"`((?:registry|builds|gates|releases|environments)\.[a-z._]+)`", TEXT)
    assert len(named) >= 10
    assert set(named) <= set(access.TABLE)
