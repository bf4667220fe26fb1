"""Become the program that a launch file describes; run as a script, standard library only.

The supervisor's own configuration format cannot carry every command and environment (it reads
`%`, `;` and quotes in its own way), and a child of a killed supervisor would live on. So each
supervised program is started as `python start.py LAUNCH.json`, which

1. asks the kernel for a signal when its parent dies,
2. ends what an earlier process of the same program left behind: a killed web server or worker
   pool leaves children that still hold its port or its work,
3. enters the working folder, takes the environment, and becomes the program.
"""

import ctypes
import glob
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


def end_orphans(instance: str, part: str) -> None:
    """Kill the children that a dead process of this program left.

    They are known by three things in their environment, never by a number alone: this home's
    instance, this program's name, and a process group that is still the dead one's. A job that
    began a group of its own is nobody's orphan.
    """
    for folder in glob.glob("/proc/[0-9]*"):
        pid = int(folder[6:])
        try:
            with open(f"{folder}/environ", "rb") as file:
                found = dict(pair.partition(b"=")[::2] for pair in file.read().split(b"\0"))
            ours = (found.get(b"MODELYARD_INSTANCE"), found.get(b"MODELYARD_PART"))
            group = int(found.get(b"MODELYARD_GROUP", b"0"))
            if ours == (instance.encode(), part.encode()) and group == os.getpgid(pid) != pid:
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            continue


def main() -> None:
    """Read the launch file and become its program."""
    with open(sys.argv[1], encoding="utf-8") as file:
        launch = json.load(file)
    end_with_parent(signal.Signals[f"SIG{launch['stop_signal']}"])
    environment = {**os.environ, **launch["environment"]}
    end_orphans(environment.get("MODELYARD_INSTANCE", ""), environment["MODELYARD_PART"])
    environment["MODELYARD_GROUP"] = str(os.getpid())
    os.chdir(launch["cwd"])
    os.execvpe(launch["argv"][0], launch["argv"], environment)  # noqa: S606


if __name__ == "__main__":
    main()
