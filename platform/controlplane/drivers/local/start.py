"""Become the program that a launch file describes; run as a script, standard library only.

The supervisor's own configuration format cannot carry every command and environment (it reads
`%`, `;` and quotes in its own way), and a child of a killed supervisor would live on. So each
supervised program is started as `python start.py LAUNCH.json`, which

1. asks the kernel for a signal when its parent dies,
2. enters the working folder, takes the environment, and becomes the program.
"""

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(how: signal.Signals) -> None:
    """Have the kernel send us `how` when our parent dies (Linux; elsewhere nothing happens)."""
    parent = os.getppid()
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(how))
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), how)


def main() -> None:
    """Read the launch file and become its program."""
    with open(sys.argv[1], encoding="utf-8") as file:
        launch = json.load(file)
    end_with_parent(signal.Signals[f"SIG{launch['stop_signal']}"])
    os.chdir(launch["cwd"])
    environment = {**os.environ, **launch["environment"]}
    os.execvpe(launch["argv"][0], launch["argv"], environment)  # noqa: S606


if __name__ == "__main__":
    main()
