"""The pages on which releases are decided, full: how long they take, and what they ask.

The release page with 200 gates and 50 comments, beside one with 4 and 2; the inbox and the list
with 2,000 open releases, beside one. Pages are asked for one after another, through the whole of
Django, from the session's cookie to the last byte; the network is left out.
"""

import tempfile
from pathlib import Path
from typing import Any

from bench import results
from bench.database import database, work
from controlplane.cli.output import note

LIMIT_MS = 200.0  # DESIGN: the p95 of any page
SIZES = {"few": (4, 0, 1), "many": (200, 48, 2_000)}


def main() -> None:
    """Measure and write bench/results/releases.json."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with database(home):
            told = {name: work(home, "bench.releases_work", *size) for name, size in SIZES.items()}
    figures = [row for page in told["many"] for row in _figures(page, told)]
    note(f"Wrote {results.save('releases', figures)}.")


def _figures(page: str, told: dict[str, Any]) -> list[dict[str, Any]]:
    few, many = told["few"][page], told["many"][page]
    note(f"{page}: p95 {many['p95_ms']:.0f} ms, {many['queries']} queries")
    full = many["name"]
    return [
        results.figure(f"{full}, p95", many["p95_ms"], "ms", "limit", LIMIT_MS),
        results.figure(f"{full}, p50", many["p50_ms"], "ms", few["name"], few["p50_ms"]),
        results.figure(f"{full}, queries", many["queries"], "", few["name"], few["queries"]),
    ]


if __name__ == "__main__":
    main()
