"""`modelyard`: register, build, serve, propose and look, for people and for CI.

The address and the token come from MODELYARD_URL and MODELYARD_TOKEN. Exit codes: 0 done,
1 refused or failed (the reason is on standard error), 2 the command line itself was wrong,
3 not done in time.
"""

import json
import sys
from pathlib import Path
from typing import Any

import click

from controlplane.cli import releases, rollouts
from controlplane.cli.bundles import bundle
from controlplane.cli.client import Client, Problem
from controlplane.cli.evidence import evidence
from controlplane.cli.feedback import feedback
from controlplane.cli.ledger import audit
from controlplane.cli.output import note, show
from controlplane.cli.policies import policy
from controlplane.cli.speaking import REFUSED, speaking

BUILD_ENDS = {"succeeded", "failed", "cancelled"}
REVISION_ENDS = {"live", "failed", "retired"}
OFFLINE = {"audit", "bundle"}  # need files and keys only


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="MODELYARD_URL", default="http://127.0.0.1:8000", show_default=True)
@click.option("--token", envvar="MODELYARD_TOKEN", default="", help="An API token; see /tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def main(context: click.Context, url: str, token: str, as_json: bool) -> None:
    """Take a trained model from registered to serving."""
    asks_for_help = bool({"-h", "--help"} & set(sys.argv))
    if not token and context.invoked_subcommand not in OFFLINE and not asks_for_help:
        raise click.UsageError(f"No token: create one at {url}/tokens and set MODELYARD_TOKEN.")
    client = Client(url, token)
    context.call_on_close(client.close)
    context.obj = {"client": client, "json": as_json}


main.add_command(audit)
main.add_command(bundle)
main.add_command(evidence)
main.add_command(feedback)
main.add_command(policy)
for command in (*releases.COMMANDS, *rollouts.COMMANDS):
    main.add_command(command)


@main.command()
@click.argument("model")
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--team", default="", help="Create the model for this team if it is new.")
@click.option("--run", default="", help="Register a run of MLflow instead of files.")
@click.option("--artifact-path", default="model", show_default=True, help="Within the run.")
@click.option("--semver", default="")
@click.option("--description", default="")
@click.option("--metric", multiple=True, metavar="NAME=NUMBER")
@click.option("--param", multiple=True, metavar="NAME=VALUE")
@click.option("--dataset", default="")
@click.option("--dataset-digest", default="")
@click.option("--git-commit", default="")
@click.pass_obj
@speaking
def register(obj: dict[str, Any], model: str, files: tuple[Path, ...], **given: Any) -> None:
    """Register FILES (or a run of MLflow) as a new version of MODEL.

    The same bytes again are the same version: nothing is registered twice.
    """
    client: Client = obj["client"]
    if not files and not given["run"]:
        raise click.UsageError("Name the files to register, or a run with --run.")
    team = given["team"]
    if team:
        ensure_model(client, model, team)
    body: dict[str, Any] = {
        key: given[key]
        for key in ("semver", "description", "dataset", "dataset_digest", "git_commit")
        if given[key]
    }
    body["metrics"] = {k: _number(v) for k, v in map(_pair, given["metric"])}
    body["params"] = dict(map(_pair, given["param"]))
    if given["run"]:
        body |= {"run_id": given["run"], "artifact_path": given["artifact_path"]}
    else:
        body["uploads"] = [{"upload": client.upload(file), "path": file.name} for file in files]
    version = client.post(f"/api/v1/models/{model}/versions", body)
    show(version, as_json=obj["json"], columns=VERSION_COLUMNS)


@main.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option(
    "--variant", "variants", multiple=True, help="Only these; by default all that apply."
)
@click.option("--wait", is_flag=True, help="Until it has ended; exit code 1 unless it succeeded.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds, with --wait.")
@click.pass_obj
@speaking
def build(
    obj: dict[str, Any],
    model: str,
    version: int,
    variants: tuple[str, ...],
    wait: bool,
    timeout: float,
) -> None:
    """Build VERSION of MODEL: scan, package, convert, optimise, prove."""
    client: Client = obj["client"]
    build = start_build(client, model, version, variants)
    if wait:
        build = client.wait(
            f"/api/v1/builds/{build['id']}", lambda b: b["state"] in BUILD_ENDS, seconds=timeout
        )
    if obj["json"]:
        show(build, as_json=True)
    else:
        show(build, as_json=False, columns=BUILD_COLUMNS)
        show(build["variants"], as_json=False, columns=VARIANT_COLUMNS)
    if wait and build["state"] != "succeeded":
        _explain(build)
        sys.exit(REFUSED)


@main.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option("--to", "environment", default="dev", show_default=True)
@click.option("--variant", default=None)
@click.option("--runtime", default=None)
@click.option("--replicas", type=int, default=None)
@click.option("--reason", default="")
@click.option("--wait", is_flag=True, help="Until it is live; exit code 1 if it failed.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds, with --wait.")
@click.pass_obj
@speaking
def serve(
    obj: dict[str, Any], model: str, version: int, wait: bool, timeout: float, **how: Any
) -> None:
    """Serve VERSION of MODEL in an environment."""
    client: Client = obj["client"]
    body = {"model": model, "version": version, **{k: v for k, v in how.items() if v}}
    answer = client.post("/api/v1/endpoints/serve", body)
    revision = answer["revision"]
    if wait:
        revision = wait_until_live(client, answer, seconds=timeout)
    endpoint = client.get(f"/api/v1/endpoints/{answer['endpoint']['id']}")
    _show_endpoints(endpoint, obj["json"])
    if wait and revision["state"] != "live":
        _explain(revision)
        sys.exit(REFUSED)


@main.command()
@click.argument("model", required=False)
@click.pass_obj
@speaking
def status(obj: dict[str, Any], model: str | None) -> None:
    """Show what is registered and what is live, of all models or of MODEL."""
    client: Client = obj["client"]
    endpoints = list(client.pages("/api/v1/endpoints", model=model))
    if model:
        versions = list(client.pages(f"/api/v1/models/{model}/versions", limit=20))[:20]
        data: Any = {
            "model": client.get(f"/api/v1/models/{model}"),
            "versions": versions,
            "endpoints": endpoints,
        }
    else:
        data = {"models": list(client.pages("/api/v1/models")), "endpoints": endpoints}
    if obj["json"]:
        show(data, as_json=True)
        return
    if model:
        show(data["versions"], as_json=False, columns=VERSION_COLUMNS)
    else:
        show(data["models"], as_json=False, columns=MODEL_COLUMNS)
    _show_endpoints(endpoints, as_json=False)


def ensure_model(client: Client, name: str, team: str, **more: Any) -> None:
    """Create the registered model unless it is there."""
    try:
        client.get(f"/api/v1/models/{name}")
    except Problem as problem:
        if problem.status != 404:
            raise
        client.post("/api/v1/models", {"name": name, "team": team, **more})


def start_build(
    client: Client, model: str, version: int, variants: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Start a build, or join the one that already runs for this version."""
    body = {"variants": list(variants)} if variants else {}
    try:
        return client.post(f"/api/v1/models/{model}/versions/{version}/builds", body)
    except Problem as problem:
        if problem.status != 409:
            raise
        for build in client.pages("/api/v1/builds", model=model, version=version):
            return build
        raise


def wait_until_live(client: Client, answer: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    """Wait until the revision that `answer` asked for is live or has failed; return it."""
    number = answer["revision"]["number"]

    def ours(endpoint: dict[str, Any]) -> dict[str, Any]:
        return next(r for r in endpoint["revisions"] if r["number"] == number)

    path = f"/api/v1/endpoints/{answer['endpoint']['id']}"
    return ours(client.wait(path, lambda e: ours(e)["state"] in REVISION_ENDS, seconds=seconds))


MODEL_COLUMNS = {"name": "Model", "team": "Team", "risk_tier": "Risk", "latest_version": "Latest"}
VERSION_COLUMNS = {
    "model": "Model",
    "number": "Version",
    "state": "State",
    "format": "Format",
    "digest": "Digest",
}
BUILD_COLUMNS = {
    "id": "Build",
    "model": "Model",
    "version": "Version",
    "number": "Number",
    "state": "State",
}
VARIANT_COLUMNS = {
    "kind": "Variant",
    "state": "State",
    "verdict": "Verdict",
    "max_difference": "Largest difference",
    "p95_ms": "p95 ms",
    "throughput": "Per second",
    "reason": "Why",
}
ENDPOINT_COLUMNS = {
    "name": "Endpoint",
    "environment": "Environment",
    "state": "State",
    "serves": "Serves",
    "address": "Address",
}


def _show_endpoints(endpoints: Any, as_json: bool) -> None:
    if as_json:
        show(endpoints, as_json=True)
        return
    rows = endpoints if isinstance(endpoints, list) else [endpoints]
    show([{**e, "serves": _serves(e)} for e in rows], as_json=False, columns=ENDPOINT_COLUMNS)


def _serves(endpoint: dict[str, Any]) -> str:
    live = endpoint["serves"]
    return f"v{live['version']}, {live['variant']}, revision {live['revision']}" if live else ""


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise click.UsageError(f"{text!r} is not NAME=VALUE.")
    return name, value


def _number(text: str) -> float:
    try:
        return float(json.loads(text))
    except (ValueError, TypeError) as error:
        raise click.UsageError(f"{text!r} is not a number.") from error


def _explain(thing: dict[str, Any]) -> None:
    problem = thing.get("problem") or {}
    note(f"It ended {thing['state']}: {problem.get('sentence', 'no reason was given')}")
    if problem.get("remedy"):
        note(problem["remedy"])


if __name__ == "__main__":
    main()
