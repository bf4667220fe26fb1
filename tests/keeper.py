"""Keeps the suite's PostgreSQL while somebody tests, and ends it soon after the last one left.

Every test process holds a shared lock on `in-use.lock`. This process owns the server; once a
second it tries for the exclusive lock, and gets it only when nobody tests any more, however
they ended.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

IDLE_SECONDS = 3
SERVER = "controlplane.drivers.local.postgres"


def lock_file(home: Path, name: str) -> int:
    """Open a lock file below `home` and return its descriptor."""
    folder = home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)


def keep(home: Path) -> None:
    """Run the server until nobody has held the lock for a while."""
    server = subprocess.Popen([sys.executable, "-m", SERVER, "--home", str(home), "--no-fsync"])
    used = lock_file(home, "in-use.lock")
    idle = 0
    while server.poll() is None:
        time.sleep(1)
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            idle = 0
            continue
        idle += 1
        if idle >= IDLE_SECONDS:
            server.send_signal(signal.SIGINT)
            server.wait()
            return
        fcntl.flock(used, fcntl.LOCK_UN)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
