"""Make what a server needs before it starts: `python -m workers.runtimes.prepare RUNTIME ...`.

It takes the server's own arguments, may run any number of times and at the same time, and is done
in a moment when everything is there. The servers ask for the same environments again when they
start, so one that somebody deleted is made again.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from workers.runtimes.oip import options
from workers.runtimes.oip.options import Options
from workers.runtimes.oip.problem import Problem
from workers.runtimes.pyfunc import environment as pyfunc
from workers.runtimes.triton import environment as triton

PREPARE: dict[str, Callable[[Options], Path]] = {
    "mlflow-pyfunc": pyfunc.make,
    "triton": triton.make,
}


def main(argv: Sequence[str]) -> int:
    """Prepare the runtime that is named first, and return the exit status."""
    runtime, *rest = argv
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
