"""Make what a server needs before it starts: `python -m workers.runtimes.prepare RUNTIME ...`.

It takes the server's own arguments, may run any number of times and at the same time, and is done
in a moment when everything is there. The servers ask for the same environments again when they
start, so one that somebody deleted is made again.

Triton's environment is the same for every model: `... prepare triton` alone makes it.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from workers.runtimes import environments
from workers.runtimes.oip import options
from workers.runtimes.oip.options import Options
from workers.runtimes.oip.problem import Problem
from workers.runtimes.pyfunc import environment as pyfunc
from workers.runtimes.triton import environment as triton

PREPARE: dict[str, Callable[[Options], Path]] = {
    "mlflow-pyfunc": pyfunc.make,
    "triton": lambda told: triton.make(told.home),
}


def main(argv: Sequence[str]) -> int:
    """Prepare the runtime that is named first, and return the exit status."""
    runtime, *rest = argv
    if runtime == "triton" and not rest:
        return _make_triton()
    told = options.read(rest)
    told.problem.unlink(missing_ok=True)
    prepare = PREPARE.get(runtime)
    try:
        if prepare is not None:
            print(f"Ready: {prepare(told)}", flush=True)
    except Problem as gave_up:
        gave_up.leave(told.problem)
        return gave_up.status
    return 0


def _make_triton() -> int:
    home = Path(os.environ.get("MODELYARD_HOME") or environments.SOURCES / ".modelyard").resolve()
    home.mkdir(parents=True, exist_ok=True)
    try:
        print(f"Ready: {triton.make(home)}", flush=True)
    except Problem as gave_up:
        print(f"{gave_up.sentence} {gave_up.remedy}\n{gave_up.words}", file=sys.stderr)
        return gave_up.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
