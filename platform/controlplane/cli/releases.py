"""`modelyard propose`, and the verbs on releases: for CI, and for people who like a terminal.

A decision signs the digest that was shown. The verbs here read the release, print what it would
ship, and send back that digest; with `--digest` a person decides on what they saw before.
"""

import sys
import time
from pathlib import Path
from typing import Any

import click

from controlplane.cli.client import Client
from controlplane.cli.output import note, show
from controlplane.cli.speaking import REFUSED, speaking
from controlplane.cli.strategies import strategy_of

WELL = {"live", "superseded"}
ILL = {"declined", "withdrawn", "expired", "rolled_back"}
EVERY = 1.0  # seconds between two looks
COLUMNS = {
    "number": "Release",
    "state": "State",
    "model": "Model",
    "version": "Version",
    "environment": "Environment",
    "variant": "Variant",
    "proposed_by": "Proposed by",
}
MISSING = {"what": "Missing", "who": "Who, or what to do"}
WAITS = {"title": "Waits for you", "proposed_by": "Proposed by", "expires_at": "Expires"}


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option("--to", "environment", default="production", show_default=True)
@click.option("--variant", default=None)
@click.option("--runtime", default=None)
@click.option("--replicas", type=int, default=None)
@click.option(
    "--strategy",
    default="",
    help="How traffic moves: a kind (canary), a template of the environment, or @FILE; the "
    "environment's default.",
)
@click.option("--summary", default="", help="Why.")
@click.option("--pipeline-url", default="", envvar="CI_PIPELINE_URL", help="Where CI made it.")
@click.option(
    "--wait",
    "until",
    is_flag=False,
    flag_value="live",
    default=None,
    type=click.Choice(["awaiting_approval", "authorized", "live"]),
    help="Until it is live, or in this state; exit code 1 if it came to nothing.",
)
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds, with --wait.")
@click.pass_obj
@speaking
def propose(
    obj: dict[str, Any], model: str, version: int, until: str | None, timeout: float, **how: Any
) -> None:
    """Propose to run VERSION of MODEL in an environment."""
    client: Client = obj["client"]
    if how["strategy"]:
        how["strategy"] = strategy_of(how["strategy"])
    body = {"model": model, "version": version, **{k: v for k, v in how.items() if v}}
    row = client.post("/api/v1/releases", body)
    if not obj["json"]:
        note(f"R-{row['number']}: {client.url.rstrip('/')}{row['page']}")
    if until:
        row = follow(client, row["number"], until, seconds=timeout, quiet=obj["json"])
    _show(row, obj["json"])
    if until and row["state"] in ILL:
        note(row["end_reason"] or f"It was {row['state']}.")
        sys.exit(REFUSED)


@click.group()
def release() -> None:
    """Look at releases, and decide on them."""


@release.command("list")
@click.option("--state", default="open", show_default=True)
@click.option("--model", default=None)
@click.option("--environment", default=None)
@click.pass_obj
@speaking
def list_(obj: dict[str, Any], **asked: Any) -> None:
    """List releases, newest first."""
    client: Client = obj["client"]
    rows = list(client.pages("/api/v1/releases", **{k: v for k, v in asked.items() if v}))
    show(rows, as_json=obj["json"], columns=COLUMNS)


@release.command("show")
@click.argument("number", type=int)
@click.pass_obj
@speaking
def show_one(obj: dict[str, Any], number: int) -> None:
    """Show a release, and what it still needs."""
    client: Client = obj["client"]
    _show(client.get(f"/api/v1/releases/{number}"), obj["json"])


@click.command()
@click.pass_obj
@speaking
def inbox(obj: dict[str, Any]) -> None:
    """Show what waits for your decision."""
    client: Client = obj["client"]
    found = client.get("/api/v1/inbox")
    show(found if obj["json"] else found["results"], as_json=obj["json"], columns=WAITS)


@release.command()
@click.argument("number", type=int)
@click.option("--digest", default="", help="What you saw; what it would ship now by default.")
@click.option("--reason", default="", help="What convinced you.")
@click.pass_obj
@speaking
def approve(obj: dict[str, Any], number: int, digest: str, reason: str) -> None:
    """Approve exactly what a release would ship."""
    _decide(obj, number, "approve", digest, reason)


@release.command("request-changes")
@click.argument("number", type=int)
@click.option("--digest", default="")
@click.option("--reason", required=True)
@click.pass_obj
@speaking
def request_changes(obj: dict[str, Any], number: int, digest: str, reason: str) -> None:
    """Ask the proposer to change something."""
    _decide(obj, number, "request-changes", digest, reason)


@release.command()
@click.argument("number", type=int)
@click.option("--digest", default="")
@click.option("--reason", required=True)
@click.pass_obj
@speaking
def decline(obj: dict[str, Any], number: int, digest: str, reason: str) -> None:
    """Decline a release, for good."""
    _decide(obj, number, "decline", digest, reason)


@release.command()
@click.argument("number", type=int)
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
@speaking
def export(obj: dict[str, Any], number: int, file: Path) -> None:
    """Write a release's signed bundle to FILE; `modelyard bundle verify` checks it anywhere."""
    client: Client = obj["client"]
    file.write_bytes(client.download(f"/releases/{number}/bundle"))
    note(f"{file}: {file.stat().st_size} bytes.")


@release.command()
@click.argument("number", type=int)
@click.option("--reason", default="")
@click.pass_obj
@speaking
def withdraw(obj: dict[str, Any], number: int, reason: str) -> None:
    """Take a release back before it moves traffic."""
    _act(obj, f"/api/v1/releases/{number}/withdraw", {"reason": reason})


@release.command()
@click.argument("number", type=int)
@click.option("--to", "environment", required=True)
@click.pass_obj
@speaking
def promote(obj: dict[str, Any], number: int, environment: str) -> None:
    """Propose the same in another environment."""
    _act(obj, f"/api/v1/releases/{number}/promote", {"environment": environment})


@release.command("break-glass")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="What is broken, and why it cannot wait.")
@click.confirmation_option(prompt="This ships past every gate and approval, and tells everybody.")
@click.pass_obj
@speaking
def break_glass(obj: dict[str, Any], number: int, reason: str) -> None:
    """Ship a release at once, loudly; a review is owed."""
    _act(obj, f"/api/v1/releases/{number}/break-glass", {"reason": reason})


@click.command("roll-back")
@click.argument("model")
@click.option("--in", "environment", default="production", show_default=True)
@click.option("--to", type=int, default=None, help="A release's number; the last good one.")
@click.option("--reason", required=True)
@click.pass_obj
@speaking
def roll_back(
    obj: dict[str, Any], model: str, environment: str, to: int | None, reason: str
) -> None:
    """Go back to a release that was live and approved before."""
    body = {"model": model, "environment": environment, "reason": reason}
    _act(obj, "/api/v1/releases/roll-back", body | ({"to": to} if to else {}))


def follow(
    client: Client, number: int, until: str, *, seconds: float, quiet: bool = True
) -> dict[str, Any]:
    """Wait until a release is in a state, or beyond, or has come to nothing; return it.

    Raises:
        TimeoutError: It was not within `seconds`.
    """
    end, said = time.monotonic() + seconds, ""
    order = ["awaiting_approval", "authorized", "rolling_out", "live", "superseded"]
    enough = {*order[order.index(until) :], *ILL, *WELL}
    while True:
        row = client.get(f"/api/v1/releases/{number}")
        if row["state"] in enough:
            return row
        words = _words(row)
        if words != said and not quiet:
            note(words)
        said = words
        if time.monotonic() > end:
            raise TimeoutError(f"R-{number} was still {row['state']} after {seconds:.0f} s.")
        time.sleep(EVERY)


def _words(row: dict[str, Any]) -> str:
    first = row["missing"][0]["what"] if row["missing"] else row["problem"]
    return f"R-{row['number']} is {row['state'].replace('_', ' ')}. {first}".strip()


def _decide(obj: dict[str, Any], number: int, verb: str, digest: str, reason: str) -> None:
    client: Client = obj["client"]
    seen = digest or client.get(f"/api/v1/releases/{number}")["digest"]
    _act(obj, f"/api/v1/releases/{number}/{verb}", {"digest": seen, "reason": reason})


def _act(obj: dict[str, Any], path: str, body: dict[str, Any]) -> None:
    client: Client = obj["client"]
    _show(client.post(path, body), obj["json"])


def _show(row: dict[str, Any], as_json: bool) -> None:
    show(row, as_json=as_json, columns=COLUMNS)
    if not as_json and row.get("missing"):
        show(row["missing"], as_json=False, columns=MISSING)


COMMANDS: tuple[click.Command, ...] = (propose, release, inbox, roll_back)
