"""Load tests on this machine: a folder each, and a detached process that works in it.

    HOME/loadtests/<name>/    plan.json  lock  pid  result.json  log

As with build jobs, the folder is the whole truth: any worker may take over from one that died.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from apps.gates.domain.load import LoadPlan, LoadReport, LoadResult, LoadState
from controlplane.drivers.files import read_json
from controlplane.kernel.errors import Transient

NAME = re.compile(r"[a-z0-9]{1,40}(-[0-9]{1,18}){0,3}")
ENDS_WITHIN = 5.0  # seconds for a test that is killed
GRACE = 10.0  # seconds from the launch until the process must have taken its lock


class LocalLoad:
    """Implements `apps.gates.ports.LoadGenerator`."""

    def __init__(
        self,
        home: Path,
        *,
        instance: str = "",
        program: tuple[str, ...] = (sys.executable, "-m", "workers.loadtest"),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use the folder `home`/loadtests.

        Args:
            home: The product's state folder.
            instance: The running stack's name, which its processes carry in their environment.
            program: The generator; it is given the test's folder.
            clock: The time, in seconds since 1970.
        """
        self._root = home.resolve() / "loadtests"
        self._instance, self._program, self._clock = instance, program, clock

    def start(self, name: str, plan: LoadPlan) -> None:
        """Implement `LoadGenerator.start`."""
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "starting", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.observe(name).state in (LoadState.ABSENT, LoadState.LOST):
                _write(folder / "plan.json", asdict(plan))
                (folder / "pid").unlink(missing_ok=True)
                # First: a worker that dies in between must not launch a second process later.
                _write(folder / "launch.json", {"at": self._clock()})
                self._launch(folder)
        finally:
            os.close(lock)

    def observe(self, name: str) -> LoadReport:
        """Implement `LoadGenerator.observe`."""
        folder = self._folder(name)
        launch = read_json(folder / "launch.json")
        if not launch:
            return LoadReport(LoadState.ABSENT)
        alive = _is_alive(folder)  # first: a test that ends in between has written its result
        said = read_json(folder / "result.json")
        if problem := said.get("problem"):
            return LoadReport(LoadState.FAILED, problem=str(problem))
        if result := said.get("result"):
            return LoadReport(LoadState.DONE, LoadResult(**result))
        young = self._clock() - float(launch["at"]) < GRACE and not (folder / "pid").exists()
        return LoadReport(LoadState.RUNNING if alive or young else LoadState.LOST)

    def discard(self, name: str) -> None:
        """Implement `LoadGenerator.discard`."""
        folder = self._folder(name)
        deadline = time.monotonic() + ENDS_WITHIN
        while _is_alive(folder) and time.monotonic() < deadline:
            _kill(folder)
            time.sleep(0.02)
        _collect()
        shutil.rmtree(folder, ignore_errors=True)

    def names(self) -> list[str]:
        """Implement `LoadGenerator.names`."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if NAME.fullmatch(path.name))

    def _folder(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a load test")
        return self._root / name

    def _launch(self, folder: Path) -> None:
        with (folder / "log").open("ab") as log:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    [*self._program, str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=self._environment(),
                    start_new_session=True,
                    close_fds=True,
                )
            except OSError as error:
                raise Transient(
                    f"The load generator could not be started ({error}).", code="load.not_started"
                ) from error
        _forget(process)

    def _environment(self) -> dict[str, str]:
        """Return the whole environment: none of the product's settings or secrets."""
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MODELYARD_INSTANCE": self._instance,
        }


_children: list["subprocess.Popen[bytes]"] = []


def _forget(process: "subprocess.Popen[bytes]") -> None:
    """Leave a test to itself; collect those that have ended, or they would stay as zombies."""
    _children.append(process)
    _collect()


def _collect() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _is_alive(folder: Path) -> bool:
    """Return whether a process holds the folder's lock."""
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _kill(folder: Path) -> None:
    """End the process if it is this test's: its number may have been given to another."""
    with suppress(OSError, ValueError, psutil.Error):
        pid = int((folder / "pid").read_text())
        if pid > 1 and str(folder) in psutil.Process(pid).cmdline():
            os.killpg(pid, signal.SIGKILL)


def _write(path: Path, body: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(body))
    draft.replace(path)
