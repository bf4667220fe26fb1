"""kill -9 of the stack's own processes, found through its own supervisor, never by a name."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import psutil

from controlplane.cli.stack import Stack
from controlplane.drivers.local import parts
from controlplane.drivers.local.home import Home
from controlplane.drivers.local.parts import Addresses, Part
from controlplane.drivers.local.servers import program
from controlplane.drivers.local.supervisor import ProcessStatus, Supervisor
from controlplane.kernel.errors import ControlPlaneError
from tests.chaos.records import Kill
from tests.chaos.watching import Watch

PARTS = ("worker", "beat", "web", "envoy", "postgres", "valkey")
KINDS = (*PARTS, "pool", "stable", "candidate")
PATIENCE = 90.0  # seconds for something to come back, on a machine that has more to do
WAIT = 8.0  # seconds for something that is just being started again to be there
SOON = 30.0  # seconds for a rollout to have what is to be killed
LOOK = 0.1


class Killer:
    """Kills one process at a time, and measures how long until another does its work."""

    def __init__(self, stack: Stack, watch: Watch, *, chance: random.Random) -> None:
        """Kill processes of `stack`; `chance` says when, and which."""
        home = Home(stack.home)
        at = {name: urlsplit(getattr(stack, name)).port or 0 for name in ("web", "serving")}
        where = Addresses("127.0.0.1", mlflow=urlsplit(stack.mlflow).port or 0, **at)
        every = parts.all_parts(home, where, outside=frozenset())
        self._parts: dict[str, Part] = {part.name: part for part in every}
        self._supervisor = Supervisor(home.run / "supervisor.sock")
        self._watch, self._chance = watch, chance
        self._back = ThreadPoolExecutor(8, thread_name_prefix="back")
        self._kills: list[Future[Kill]] = []
        self._stop = threading.Event()
        self._one = threading.Lock()

    @property
    def kills(self) -> list[Kill]:
        """Return every kill; waits until what was killed is back."""
        return sorted((future.result() for future in self._kills), key=lambda kill: kill.at)

    @contextmanager
    def at_random(self, kinds: Sequence[str], *, pause: tuple[float, float]) -> Iterator[None]:
        """Kill one of each of `kinds` in turn, with random pauses, while the block runs."""
        thread = threading.Thread(target=self._run, args=(kinds, pause), name="killer")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(PATIENCE)

    def candidate_of(self, release: int) -> bool:
        """Kill the server of one candidate; return whether there was one."""
        row = self._watch.of_release(release)
        return row is not None and self._kill("candidate", program(row["candidate"], 0))

    def all_well(self) -> bool:
        """Wait until every part works; return whether they do."""
        return until(lambda: all(self._works(name) for name in self._parts), PATIENCE)

    def _run(self, kinds: Sequence[str], pause: tuple[float, float]) -> None:
        until(lambda: bool(self._watch.rows) or self._stop.is_set(), PATIENCE)
        for kind in kinds:
            if self._stop.wait(self._chance.uniform(*pause)):
                return
            self._soon(kind)

    def _soon(self, kind: str) -> None:
        """Kill one of a kind; a moment without a candidate is none to kill one at, so wait."""
        until(lambda: self._of_kind(kind) or self._stop.is_set(), SOON)

    def _of_kind(self, kind: str) -> bool:
        if kind in PARTS:
            return self._kill(kind, kind)
        if kind == "pool":
            return self._kill_child()
        return any(self._kill(kind, name) for name in self._servers(kind))

    def _servers(self, kind: str) -> list[str]:
        """Return the servers of one side of the rollouts that go on, in random order."""
        going = [row for row in self._watch.rows.values() if row["ended_at"] is None]
        names = [program(row[kind], 0) for row in going if row[kind]]
        return self._chance.sample(names, len(names))

    def _kill(self, kind: str, name: str) -> bool:
        pid = self._pid(name)
        if pid is None:
            return False
        works = self._parts[name].healthy if name in self._parts else psutil.pid_exists
        return self._strike(kind, pid, lambda: self._another(name, pid, works))

    def _kill_child(self) -> bool:
        parent = self._pid("worker")
        children = psutil.Process(parent).children() if parent else []
        if not children:
            return False
        pid = self._chance.choice(children).pid
        count = len(children)
        return self._strike("pool", pid, lambda: self._children(pid) >= count)

    def _strike(self, kind: str, pid: int, is_back: Callable[[], bool]) -> bool:
        with self._one:
            at = datetime.now(UTC)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself, just now
                return False
            self._kills.append(self._back.submit(_measured, kind, pid, at, is_back))
        return True

    def _pid(self, name: str) -> int | None:
        status = self._status(name)
        if status is None:
            return None
        until(lambda: (self._status(name) or status).pid is not None, WAIT)
        now = self._status(name)
        return now.pid if now else None

    def _another(self, name: str, but: int, works: Callable[[int], bool]) -> bool:
        status = self._status(name)
        if status is None and name not in self._parts:
            return True  # its revision ended meanwhile
        return bool(status and status.pid and status.pid != but and works(status.pid))

    def _children(self, but: int) -> int:
        parent = self._pid("worker")
        try:
            children = psutil.Process(parent).children() if parent else []
        except psutil.NoSuchProcess:
            return 0
        return sum(c.pid != but and c.status() != psutil.STATUS_ZOMBIE for c in children)

    def _works(self, name: str) -> bool:
        status = self._status(name)
        return bool(status and status.pid and self._parts[name].healthy(status.pid))

    def _status(self, name: str) -> ProcessStatus | None:
        try:
            return self._supervisor.status_of(name)
        except ControlPlaneError:
            return None


def _measured(kind: str, pid: int, at: datetime, is_back: Callable[[], bool]) -> Kill:
    came = until(is_back, PATIENCE)
    return Kill(at, kind, pid, (datetime.now(UTC) - at).total_seconds() if came else None)


def until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK)
    return True
