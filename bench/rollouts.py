"""Many rollouts at once: what they cost the control plane, and how that grows.

One worker, the sweep alone, memory drivers outside, a real PostgreSQL: 10, 100 and 1,000 canaries
begin at once; then, all in the middle of a step and each endpoint with 5 requests per second, they
go on for a minute.
"""

import tempfile
from pathlib import Path
from typing import Any

from bench import results
from bench.database import database, work
from controlplane.cli.output import note

SIZES = (10, 100, 1_000)
SECONDS = 60


def main() -> None:
    """Measure and write bench/results/rollouts.json."""
    told = [_measured(size) for size in SIZES]
    figures = [figure for few, many in zip([told[0], *told], told, strict=False)
               for figure in _figures(few, many)]  # fmt: skip
    note(f"Wrote {results.save('rollouts', figures)}.")


def _measured(size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with database(home):
            found = work(home, "bench.rollouts_work", size, SECONDS)
    note(f"{size}: {found}")
    return found


def _figures(few: dict[str, Any], many: dict[str, Any]) -> list[dict[str, Any]]:
    size, peer = many["size"], f"{few['size']} rollouts"
    lag, before = max(many["lag_p95_s"].values()), max(few["lag_p95_s"].values())
    return [
        results.figure(f"{size} rollouts, passes", many["passes_per_s"], "1/s", peer,
                       few["passes_per_s"]),
        results.figure(f"{size} rollouts, processor of one worker", many["cpu_share"], "cores",
                       peer, few["cpu_share"]),
        results.figure(f"{size} rollouts, a pass is late by (p95)", lag, "s", peer, before),
        results.figure(f"{size} rollouts at once, until each has its first step",
                       many["began_within_s"], "s", peer, few["began_within_s"]),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
