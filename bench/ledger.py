"""The ledger: reading a million events over again, and what sealing costs those who write.

A million events are sealed and exported, and `modelyard audit verify` reads the file in a process
of its own, as an auditor would. Then many connections append events with `audit.record`, one
transaction each: alone, with the sealing pass beside them, and, for comparison, chained under one
lock while they are written.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import database, results
from controlplane.cli.output import note
from controlplane.cli.stack import ROOT

WORK = "bench.ledger_work"
EVENTS = 1_000_000
LIMIT = 60.0  # seconds in which they must be verified
CONNECTIONS = (8, 32)
SECONDS = 5.0
TURNS = 4


def main() -> None:
    """Measure and write bench/results/ledger.json."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with database.database(home):
            figures = [row for n in CONNECTIONS for row in _writing(home, n)]
            figures += _reading(home)
    note(f"Wrote {results.save('ledger', figures)}.")


def _writing(home: Path, connections: int) -> list[dict[str, Any]]:
    """Append in turns, forth and back, so that a busy machine is busy for all of them."""
    rates: dict[str, list[float]] = {"alone": [], "sealed": [], "locked": []}
    for turn in range(TURNS):
        for how in list(rates)[:: -1 if turn % 2 else 1]:
            rates[how].append(
                database.work(home, WORK, "write", connections, SECONDS, how)["per_second"]
            )
    alone, sealed, locked = (median(rates[how]) for how in ("alone", "sealed", "locked"))
    note(f"{connections}: {alone:.0f}/s alone, {sealed:.0f}/s sealed, {locked:.0f}/s locked")
    name = f"audit.record, {connections} connections"
    return [
        results.figure(f"{name}, sealing beside", sealed, "events/s", "without sealing", alone),
        results.figure(
            f"{name}, sealing beside", sealed, "events/s", "chained under a lock", locked
        ),
    ]


def _reading(home: Path) -> list[dict[str, Any]]:
    before = database.work(home, WORK, "fill", EVENTS, home)
    began, used = time.monotonic(), _processor()
    command = [sys.executable, "-m", "controlplane.cli.main", "audit", "verify"]
    command += [str(home / "export.jsonl"), "--key", str(home / "ledger.pub")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    took, used = time.monotonic() - began, _processor() - used
    note(done.stdout.strip() or done.stderr.strip())
    if done.returncode:
        raise RuntimeError("The export was not found whole.")
    size = (home / "export.jsonl").stat().st_size / 1e6
    what = f"{EVENTS:,} events"
    return [
        results.figure(f"verify an export of {what}, {size:.0f} MB", took, "s", "limit", LIMIT),
        results.figure(f"verify {what}, processor time", used, "s"),
        results.figure(f"seal {what}", before["seal"], "s"),
        results.figure(f"export {what}", before["export"], "s"),
    ]


def _processor() -> float:
    """Return the seconds of processor time that finished children have used."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
