"""`modelyard evidence`: what a pipeline found out about a version, with its files."""

import json
from pathlib import Path
from typing import Any

import click

from controlplane.cli.client import Client
from controlplane.cli.output import show
from controlplane.cli.speaking import speaking

COLUMNS = {
    "key": "Evidence",
    "model": "Model",
    "version": "Version",
    "verdict": "Verdict",
    "sentence": "What was found",
    "source": "Source",
}


@click.group()
def evidence() -> None:
    """Send and list evidence for gates and for the ML Test Score."""


@evidence.command("push")
@click.argument("model")
@click.argument("version", type=int)
@click.argument("key")
@click.option("--passed", "verdict", flag_value="passed", help="It came out well.")
@click.option("--failed", "verdict", flag_value="failed", help="It came out badly.")
@click.option("--sentence", default="", help="What was found, for a person.")
@click.option("--facts", default="", help="The numbers: a JSON object, or @FILE that holds one.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A report to keep with it; may be given again.",
)
@click.option("--link", default="", envvar="CI_JOB_URL", help="The pipeline's run.")
@click.option("--environment", default="", help="Where it holds; everywhere by default.")
@click.option("--subject", default="", help="The digest that was looked at.")
@click.option("--measured-at", default="", help="When; now by default.")
@click.pass_obj
@speaking
def push(
    obj: dict[str, Any],
    model: str,
    version: int,
    key: str,
    verdict: str | None,
    facts: str,
    files: tuple[Path, ...],
    **said: str,
) -> None:
    """Send evidence about VERSION of MODEL for KEY, a gate or a test ("mltest.data-1").

    The same again is recorded once, so a pipeline may repeat it.
    """
    client: Client = obj["client"]
    body: dict[str, Any] = {"model": model, "version": version, "key": key}
    body |= {name: value for name, value in said.items() if value}
    if verdict:
        body["verdict"] = verdict
    if facts:
        body["facts"] = _object(facts)
    if files:
        body["files"] = [{"upload": client.upload(f), "name": f.name} for f in files]
    show(client.post("/api/v1/evidence", body), as_json=obj["json"], columns=COLUMNS)


@evidence.command("list")
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--key", default=None)
@click.pass_obj
@speaking
def list_(obj: dict[str, Any], model: str, version: int | None, key: str | None) -> None:
    """List the evidence about MODEL, newest first."""
    client: Client = obj["client"]
    rows = list(client.pages("/api/v1/evidence", model=model, version=version, key=key))
    show(rows, as_json=obj["json"], columns=COLUMNS)


def _object(given: str) -> dict[str, Any]:
    text = given
    if given.startswith("@"):
        try:
            text = Path(given[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{given[1:]} cannot be read: {error.strerror}.") from error
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--facts is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise click.UsageError('--facts is not a JSON object: write {"name": value}.')
    return found
