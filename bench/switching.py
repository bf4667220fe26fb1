"""How soon everything is back on stable, and how soon blue-green switches: on a whole stack.

One endpoint with callers that keep their pace, and rollouts one after the other: half of them
canaries that stand at 50 % and are aborted, half of them blue-green ones that are promoted from
their preview. Each is measured twice: by the ledger, from the decision until the proxy was seen
to do it, and by the callers, from before the request to decide until the last answer of the other
side.
"""

import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from bench import results
from controlplane.cli.client import Client
from controlplane.cli.output import note
from controlplane.cli.stack import running
from tests.journeys import canaries
from tests.journeys.canaries import LONG, Callers, Json

TIMES = 25
NAME = "switching"
RATE = 100.0  # requests a second
BLUE_GREEN = {"kind": "blue_green", "preview_seconds": 1, "ask": True, "keep_warm_seconds": 1}
AFTER = 1.0  # seconds for which callers go on once it is over


class Took(NamedTuple):
    """Seconds from a decision, and requests that failed."""

    ledger: float
    callers: float
    failed: int


def main() -> None:
    """Measure and write bench/results/switching.json."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with (
            running(home, seconds=180) as stack,
            closing(Client(stack.web, stack.token("bench"), patience=60)) as client,
        ):
            graphs = [canaries.graph("blue"), canaries.graph("green")]
            canaries.versions(client, NAME, home, graphs)
            url = canaries.address(client, NAME)
            aborts = [_abort(client, url) for _ in range(TIMES)]
            switches = [_switch(client, url, 2 - number % 2) for number in range(TIMES)]
    figures = [*_figures("abort", aborts), *_figures("blue-green switch", switches)]
    note(f"Wrote {results.save('switching', figures)}.")


def _abort(client: Client, url: str) -> Took:
    row = canaries.begin(client, NAME, 2, LONG)
    canaries.until(client, row, lambda r: r["weight"] == 50)
    return _decided(client, url, row, "abort")


def _switch(client: Client, url: str, version: int) -> Took:
    row = canaries.begin(client, NAME, version, BLUE_GREEN)
    canaries.until(client, row, lambda r: r["state"] == "paused")
    return _decided(client, url, row, "promote")


def _decided(client: Client, url: str, row: Json, verb: str) -> Took:
    """Decide while callers call, and wait until it is over."""
    with Callers(url, rate=RATE).calling() as callers:
        time.sleep(AFTER)
        at = time.monotonic()
        client.post(f"{canaries.path(row)}/{verb}", {"reason": "To measure it."})
        ended = canaries.until(client, row, lambda r: r["ended_at"])
        over = time.monotonic()
        time.sleep(AFTER)
    winner = {answer.revision for answer in callers.since(over)}
    others = [a.asked_at for a in callers.since(at) if a.revision not in winner]
    found = Took(
        canaries.settled_after(ended), max(others, default=at) - at, len(callers.failed())
    )
    note(f"{verb}: ledger {found.ledger:.2f} s, callers {found.callers:.2f} s")
    return found


def _figures(name: str, took: list[Took]) -> list[dict[str, Any]]:
    figures = [results.figure(f"{name}: times", len(took), "")]
    for side in ("ledger", "callers"):
        seconds = [getattr(one, side) for one in took]
        figures += [
            results.figure(f"{name}, by the {side} (median)", median(seconds), "s"),
            results.figure(f"{name}, by the {side} (p95)", quantiles(seconds, n=20)[-1], "s"),
        ]
    failed = sum(one.failed for one in took)
    return [*figures, results.figure(f"{name}: requests that failed", failed, "")]


if __name__ == "__main__":
    main()
