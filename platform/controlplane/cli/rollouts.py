"""`modelyard rollout` and `modelyard strategy`: watching traffic move, and a person's verbs on it.

Each verb says why; the reason stands in the rollout's log and in the ledger.
"""

import sys
import time
from typing import Any

import click

from controlplane.cli.client import Client
from controlplane.cli.output import note, show
from controlplane.cli.speaking import REFUSED, speaking
from controlplane.cli.strategies import strategy_of

ENDED = {"promoted", "rolled_back", "cancelled"}
REACHED = {  # what counts as having come as far as that
    "progressing": {"progressing", "paused", "promoting", "promoted"},
    "paused": {"paused"},
    "promoting": {"promoting", "promoted"},
    "promoted": {"promoted"},
    "rolled_back": {"rolled_back"},
    "ended": ENDED,
}
EVERY = 1.0  # seconds between two looks
COLUMNS = {
    "id": "Rollout",
    "release_number": "Release",
    "state": "State",
    "model": "Model",
    "version": "Version",
    "environment": "Environment",
    "kind": "Strategy",
    "step": "Step",
    "weight": "Weight %",
}
STEPS = {
    "here": "",
    "name": "Step",
    "what": "What happens",
    "hold_seconds": "Hold s",
    "until": "Until",
    "ask": "Asks",
    "deadline_seconds": "Deadline s",
}
EVENTS = {"at": "When", "sentence": "What", "actor": "By", "reason": "Why"}
TEMPLATES = {
    "name": "Template",
    "title": "Title",
    "sentence": "What it does",
    "least_seconds": "Least s",
    "is_default": "Default",
}


@click.group()
def rollout() -> None:
    """Watch traffic move, and stop, hurry or turn it."""


@rollout.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("--model", default=None)
@click.option("--environment", default=None)
@click.option("--state", default=None)
@click.pass_obj
@speaking
def list_(obj: dict[str, Any], everything: bool, **asked: Any) -> None:
    """List the rollouts that have not ended, newest first."""
    client: Client = obj["client"]
    if not everything and not asked["state"]:
        asked["active"] = "true"
    rows = list(client.pages("/api/v1/rollouts", **asked))
    show(rows, as_json=obj["json"], columns=COLUMNS)


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.pass_obj
@speaking
def status(obj: dict[str, Any], rollout_id: str) -> None:
    """Show where a rollout stands, and its steps."""
    client: Client = obj["client"]
    _show(client.get(_path(rollout_id)), obj["json"])


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.pass_obj
@speaking
def events(obj: dict[str, Any], rollout_id: str) -> None:
    """Show what happened to a rollout, oldest first."""
    client: Client = obj["client"]
    rows = list(client.pages(f"{_path(rollout_id)}/events"))[::-1]
    show(rows, as_json=obj["json"], columns=EVENTS)


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.option("--reason", required=True)
@click.pass_obj
@speaking
def pause(obj: dict[str, Any], rollout_id: str, reason: str) -> None:
    """Keep the traffic as it is until somebody resumes."""
    _act(obj, rollout_id, "pause", reason)


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.option("--reason", default="")
@click.pass_obj
@speaking
def resume(obj: dict[str, Any], rollout_id: str, reason: str) -> None:
    """Go on; where a person was asked, this says that the step is good enough."""
    _act(obj, rollout_id, "resume", reason)


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.option("--reason", required=True)
@click.pass_obj
@speaking
def skip(obj: dict[str, Any], rollout_id: str, reason: str) -> None:
    """Go on to the next step now."""
    _act(obj, rollout_id, "skip", reason)


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.option("--reason", required=True)
@click.pass_obj
@speaking
def promote(obj: dict[str, Any], rollout_id: str, reason: str) -> None:
    """Let the new version answer everything now, without the steps that are left."""
    _act(obj, rollout_id, "promote", reason)


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.option("--reason", required=True)
@click.pass_obj
@speaking
def abort(obj: dict[str, Any], rollout_id: str, reason: str) -> None:
    """Send everything back to the stable version; before the start, just end it."""
    _act(obj, rollout_id, "abort", reason)


@rollout.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option("--environment", required=True, help="One that is not protected.")
@click.option("--variant", default="", help="The one that is live, or the best, when left out.")
@click.option("--reason", required=True)
@click.option("--wait/--no-wait", "waits", default=True, show_default=True)
@click.option("--timeout", default=1200.0, show_default=True, help="Seconds.")
@click.pass_obj
@speaking
def rehearse(obj: dict[str, Any], waits: bool, timeout: float, **asked: Any) -> None:
    """Make a version fail beside what is live, and see that it is noticed and goes back.

    A tenth of the callers' requests goes to the version meanwhile; those that fail are ours, at
    its preview address. What is seen becomes evidence for the gates rollback.rehearsed and
    monitoring.proven.
    """
    client: Client = obj["client"]
    row = client.post("/api/v1/rollouts/rehearse", asked)
    if waits:
        row = follow(client, row["id"], "ended", seconds=timeout, quiet=obj["json"])
    _show(row, obj["json"])


@rollout.command()
@click.argument("rollout_id", metavar="ID")
@click.option("--until", type=click.Choice(list(REACHED)), default="promoted", show_default=True)
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds.")
@click.pass_obj
@speaking
def wait(obj: dict[str, Any], rollout_id: str, until: str, timeout: float) -> None:
    """Wait until a rollout has come so far; exit code 1 if it ended otherwise, 3 if too late."""
    client: Client = obj["client"]
    row = follow(client, rollout_id, until, seconds=timeout, quiet=obj["json"])
    _show(row, obj["json"])
    if row["state"] not in REACHED[until]:
        note(row["reason"] or f"It was {_word(row['state'])}.")
        sys.exit(REFUSED)


@click.group()
def strategy() -> None:
    """Read the templates of an environment, and see what a strategy would do."""


@strategy.command()
@click.argument("environment", default="production")
@click.pass_obj
@speaking
def templates(obj: dict[str, Any], environment: str) -> None:
    """List the strategy templates of ENVIRONMENT, the default one first."""
    client: Client = obj["client"]
    rows = list(client.pages(f"/api/v1/environments/{environment}/strategy-templates"))
    show(rows, as_json=obj["json"], columns=TEMPLATES)


@strategy.command()
@click.argument("how", metavar="STRATEGY")
@click.option("--in", "environment", default="production", show_default=True)
@click.option("--model", default=None, help="With --version: say what it needs as well.")
@click.option("--version", type=int, default=None)
@click.option("--replicas", type=int, default=None)
@click.pass_obj
@speaking
def preview(obj: dict[str, Any], how: str, **asked: Any) -> None:
    """Say what STRATEGY does: a kind, a template's name, or @FILE with a document."""
    client: Client = obj["client"]
    body = {name: value for name, value in asked.items() if value is not None}
    shown = client.post("/api/v1/strategies/preview", {"strategy": strategy_of(how), **body})
    if obj["json"]:
        show(shown, as_json=True)
        return
    sys.stdout.write(f"{shown['sentence']}\n")
    if shown["steps"]:
        show(shown["steps"], as_json=False, columns={k: v for k, v in STEPS.items() if v})
    elif not shown["has_stable"]:
        sys.stdout.write("Nothing is live there yet, so it takes no steps.\n")
    sys.stdout.write(f"{shown['cost']}\n" if shown["cost"] else "")


def follow(
    client: Client, rollout_id: str, until: str, *, seconds: float, quiet: bool = True
) -> dict[str, Any]:
    """Wait until a rollout has come as far as `until`, or has ended; return it.

    Raises:
        TimeoutError: It was not within `seconds`.
    """
    end, told = time.monotonic() + seconds, 0
    enough = REACHED[until] | ENDED
    while True:
        row = client.get(_path(rollout_id))
        if not quiet:
            told = _tell(client, rollout_id, told)
        if row["state"] in enough:
            return row
        if time.monotonic() > end:
            raise TimeoutError(f"It was still {_word(row['state'])} after {seconds:.0f} s.")
        time.sleep(EVERY)


def _tell(client: Client, rollout_id: str, told: int) -> int:
    """Tell what has been added to the log; return how much of it is told."""
    log = list(client.pages(f"{_path(rollout_id)}/events"))[::-1]
    for event in log[told:]:
        note(f"{event['sentence']} {event['reason']}".strip())
    return len(log)


def _act(obj: dict[str, Any], rollout_id: str, verb: str, reason: str) -> None:
    client: Client = obj["client"]
    _show(client.post(f"{_path(rollout_id)}/{verb}", {"reason": reason}), obj["json"])


def _path(rollout_id: str) -> str:
    return f"/api/v1/rollouts/{rollout_id}"


def _show(row: dict[str, Any], as_json: bool) -> None:
    show(row, as_json=as_json, columns=COLUMNS)
    if as_json:
        return
    show(
        [
            {**step, "here": "→" if at == row["step"] else ""}
            for at, step in enumerate(row["steps"])
        ],
        as_json=False,
        columns=STEPS,
    )
    for sentence in _words(row):
        note(sentence)


def _words(row: dict[str, Any]) -> list[str]:
    """Return what a person wants to know beside the table."""
    pause, judge = row["pause"], row["analysis"]
    by = f" by {pause['by']}" if pause and pause["by"] else ""
    said = [
        f"Paused{by}: {pause['reason']}" if pause else "",
        f"Waits: {row['waits_for']}" if row["waits_for"] and not pause else "",
        f"Judge: {judge['problem'] or judge['sentence']}" if judge else "",
        row["reason"],
    ]
    return [sentence for sentence in said if sentence]


def _word(state: str) -> str:
    return state.replace("_", " ")


COMMANDS: tuple[click.Command, ...] = (rollout, strategy)
