"""Serve an MLflow bundle: become the server in the bundle's own environment."""

import os
import sys

from workers.runtimes import environments
from workers.runtimes.oip import bundle, options
from workers.runtimes.oip.problem import Problem
from workers.runtimes.pyfunc import environment


def main(argv: list[str]) -> None:
    """Replace this process by the server, or leave the reason why that is not possible."""
    told = options.read(argv)
    told.problem.unlink(missing_ok=True)
    try:
        bundle.verified(told.bundle, told.digest)  # its requirements are about to be trusted
        python = environments.python(environment.make(told))
    except Problem as gave_up:
        gave_up.leave(told.problem)
        sys.exit(gave_up.status)
    path = str(environments.code(told.home, ["oip", "pyfunc"]))
    command = [str(python), "-m", "workers.runtimes.pyfunc.server", *argv]
    os.execve(python, command, os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"})  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
