"""`modelyard policy`: policies as a file beside the code, tried before they are applied."""

import sys
from pathlib import Path
from typing import Any

import click

from apps.gates.domain import policy_yaml
from apps.gates.domain.policy_yaml import PolicyFile
from controlplane.cli.client import Client
from controlplane.cli.output import note, show
from controlplane.cli.speaking import REFUSED, speaking
from controlplane.kernel.errors import Invalid

SAVED = {
    "environment": "Environment",
    "risk_tier": "Risk",
    "number": "Version",
    "what": "What happened",
}
TRIED = {
    "where": "Policy",
    "release": "Open release",
    "effect": "It would be",
    "gates": "Gates that stop it",
}
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """Read, try and write the policies that say what a release must pass."""


@policy.command("get")
@click.argument("environment", required=False)
@click.argument("risk_tier", required=False)
@click.option("--number", type=int, default=None, help="An older version.")
@click.pass_obj
@speaking
def get(
    obj: dict[str, Any], environment: str | None, risk_tier: str | None, number: int | None
) -> None:
    """Print the policy of ENVIRONMENT for RISK_TIER as YAML; without them, all of them."""
    client: Client = obj["client"]
    if (environment is None) != (risk_tier is None):
        raise click.UsageError("Name both the environment and the risk tier, or neither.")
    path = f"/api/v1/policies/{environment}/{risk_tier}" if environment else "/api/v1/policies"
    if obj["json"]:
        found = client.get(path, number=number) if environment else list(client.pages(path))
        show(found, as_json=True)
        return
    sys.stdout.write(client.text(path, format="yaml", number=number))


@policy.command("apply")
@click.argument("file", type=FILE)
@click.option("--reason", required=True, help="Stands in the history and in the ledger.")
@click.pass_obj
@speaking
def apply(obj: dict[str, Any], file: Path, reason: str) -> None:
    """Save the policies in FILE: all of them or none; those that say nothing new stay."""
    client: Client = obj["client"]
    body = {"yaml": file.read_text(encoding="utf-8"), "reason": reason}
    results = client.post("/api/v1/policies", body)["results"]
    if obj["json"]:
        show(results, as_json=True)
        return
    rows = [
        {**entry["policy"], "what": "saved" if entry["is_new"] else "says the same"}
        for entry in results
    ]
    show(rows, as_json=False, columns=SAVED)


@policy.command("dry-run")
@click.argument("file", type=FILE)
@click.option("--fail-if-stops", is_flag=True, help="Exit code 1 if it would stop a release.")
@click.pass_obj
@speaking
def dry_run(obj: dict[str, Any], file: Path, fail_if_stops: bool) -> None:
    """Say which open releases the policies in FILE would stop; saves nothing."""
    client: Client = obj["client"]
    tried = [(entry, _try(client, entry)) for entry in _read(file)]
    if obj["json"]:
        show([{**_where(entry), **run} for entry, run in tried], as_json=True)
    else:
        _tell(tried)
    if fail_if_stops and any(run["stopped"] for _, run in tried):
        sys.exit(REFUSED)


def _read(file: Path) -> tuple[PolicyFile, ...]:
    try:
        return policy_yaml.read(file.read_text(encoding="utf-8"))
    except Invalid as error:
        raise click.UsageError(f"{file}: {error.sentence} {error.remedy}") from error


def _try(client: Client, entry: PolicyFile) -> dict[str, Any]:
    return client.post("/api/v1/policies/dry-run", {**_where(entry), "document": entry.document})


def _where(entry: PolicyFile) -> dict[str, str]:
    return {"environment": entry.environment, "risk_tier": entry.risk_tier}


def _tell(tried: list[tuple[PolicyFile, dict[str, Any]]]) -> None:
    rows = []
    for entry, run in tried:
        where = f"{entry.environment}, {entry.risk_tier}"
        for sentence in run["changes"]:
            note(f"{where}: {sentence}")
        rows += [_row(where, found) for found in run["checklists"] if found["effect"] != "same"]
    if rows:
        show(rows, as_json=False, columns=TRIED)
    else:
        note("No open release would fare differently.")


def _row(where: str, found: dict[str, Any]) -> dict[str, Any]:
    stops = ", ".join(gate["gate"] for gate in found["gates"] if gate["stops"])
    release = f"{found['model']} v{found['version']}, {found['variant']}"
    return {"where": where, "release": release, "effect": found["effect"], "gates": stops}
