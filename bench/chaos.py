"""Fifty rollouts while processes are killed: `python -m bench.chaos [ROLLOUTS [SEED]]`.

The play of `tests/chaos` at its full length, on a stack of its own: every kind of process is
killed again and again at random moments, and every rollout has to end as it must.
"""

import random
import sys
import tempfile
from collections import Counter
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from bench import results
from controlplane.cli.client import Client
from controlplane.cli.output import note
from controlplane.cli.stack import running
from tests.chaos.killing import KINDS
from tests.chaos.play import ENVIRONMENTS, Report, Script, play
from tests.chaos.records import Fate, Kill

ROLLOUTS = 50
SEED = 20261128
MODELS = ("chaos-a", "chaos-b")
PAUSE = (4.0, 12.0)  # seconds between two kills: some come before the last one is back
KILLS = 2_000  # more than there is time for: it goes on until the last rollout has ended
FATES = (Fate.GOOD, Fate.FAILS, Fate.GOOD, Fate.ABORTED, Fate.GOOD, Fate.CRASHES)


def main(rollouts: int = ROLLOUTS, seed: int = SEED) -> None:
    """Play and write bench/results/chaos.json."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with (
            running(home, seconds=180) as stack,
            closing(Client(stack.web, stack.token("chaos"), patience=90)) as client,
        ):
            report = play(stack, client, script(rollouts, seed), folder=home)
    note(str(report))
    note(f"Wrote {results.save('chaos', figures(report))}.")
    if report.violations:
        sys.exit(f"{len(report.violations)} things are not as they have to be.")


def script(rollouts: int, seed: int) -> Script:
    """Return rollouts of every fate over all endpoints, and kills of every kind in turn."""
    chance = random.Random(seed)
    places = len(MODELS) * len(ENVIRONMENTS)
    fates = list(islice(cycle(FATES), rollouts))
    chance.shuffle(fates)
    kills: list[str] = []
    while len(kills) < KILLS:
        kills += chance.sample(KINDS, len(KINDS))
    return Script(seed, MODELS, [fates[n::places] for n in range(places)], kills, PAUSE)


def figures(report: Report) -> list[dict[str, Any]]:
    """Return what was killed, how soon it was back, how the rollouts ended, and what was wrong."""
    kinds = [kind for kind in KINDS if any(k.kind == kind for k in report.kills)]
    ends = Counter(played.state for played in report.played)
    return [
        results.figure("rollouts", len(report.played), ""),
        *(results.figure(f"rollouts that were {end}", n, "") for end, n in sorted(ends.items())),
        results.figure("things that were not as they have to be", len(report.violations), ""),
        results.figure("processes killed", len(report.kills), ""),
        *(row for kind in kinds for row in _of_kind(kind, report.kills)),
        *(results.figure(f"requests: {what}", n, "") for what, n in report.answers.items()),
        results.figure("time", report.seconds, "s"),
    ]


def _of_kind(kind: str, kills: list[Kill]) -> list[dict[str, Any]]:
    mine = [kill for kill in kills if kill.kind == kind]
    back = [kill.back for kill in mine if kill.back is not None]
    return [
        results.figure(f"{kind}: killed", len(mine), ""),
        results.figure(f"{kind}: back after (median)", median(back), "s"),
        results.figure(f"{kind}: back after (longest)", max(back), "s"),
    ]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
