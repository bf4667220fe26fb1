"""Model servers as processes of this machine, under its supervisor.

What is there of a revision lies in one folder, `servers/REVISION/`: `state.json` (the last
command that was taken, and the ports), `bundle/` (the materialised bundle) and the words of
servers that gave up. The processes themselves are programs of the supervisor, one per replica;
it starts them again, with growing pauses, when they end. Nothing here waits for a process.
"""

import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from apps.endpoints.domain.values import (
    Golden,
    Problem,
    Replica,
    ReplicaState,
    Servers,
    ServerSpec,
)
from controlplane.drivers.files import read_json
from controlplane.drivers.local import asking, launch, ports
from controlplane.drivers.local.commands import Command, Commands
from controlplane.drivers.local.supervisor import ProcessStatus, Supervisor
from controlplane.drivers.oci.layout import OciLayout
from controlplane.kernel.errors import Transient

RETRIES = 4  # failed starts, each a second later than the last, before the supervisor gives up
RESERVE_MB = 256  # memory that is not given away
FRESH = 0.2  # seconds for which the supervisor's answer is shared between passes
READY_FOR = 8.0  # seconds for which a replica that was ready is not asked again
HUNG_AFTER = 60.0  # seconds without an answer, after the time to start, before a new start
LOG_TAIL = 8_192  # bytes
LOGS_KEPT = timedelta(days=7)  # of servers that are gone, for whoever asks why


@dataclass(frozen=True)
class _Answered:
    """When a process last said that it was ready."""

    pid: int
    at: float


class LocalServers:
    """Implements `apps.endpoints.ports.ModelServers`."""

    def __init__(
        self,
        home: Path,
        *,
        supervisor: Supervisor,
        bundles: OciLayout,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Run servers below `home` (MODELYARD_HOME), from the bundles in `bundles`."""
        self._home, self._folder = home, home / "servers"
        self._supervisor, self._bundles, self._clock = supervisor, bundles, clock
        self._commands = Commands(self._folder)
        self._answered: dict[str, _Answered] = {}
        self._listed: tuple[float, dict[str, ProcessStatus]] = (-1, {})

    def start(self, spec: ServerSpec) -> None:
        """Implement `ModelServers.start`.

        1. Refuse a command that was overtaken; remember this one, with a port per replica.
        2. Materialise the bundle; every byte is hashed on the way.
        3. Have every replica supervised; start again what gave up or hangs.
        4. Stop replicas beyond the number that is asked for.
        """
        command = self._commands.accept(spec)
        bundle = self._bundle(spec.revision)
        if not bundle.exists():
            self._bundles.materialise(spec.digest, bundle)
        programs = self._programs(fresh=True)
        for index in range(spec.replicas):
            self._bring_up(command, index, programs.get(program(spec.revision, index)))
        for index, name in _of(spec.revision, programs).items():
            if index >= spec.replicas:
                self._take_down(programs[name])
        self._forget_listing()

    def stop(self, revision: str, *, generation: int) -> None:
        """Implement `ModelServers.stop`; called again until nothing is there."""
        command = self._commands.of(revision)
        if command is not None:
            command.refuse_older(generation)
        programs = self._programs(fresh=True)
        mine = _of(revision, programs)
        for name in mine.values():
            self._take_down(programs[name])
        self._forget_listing()
        if not mine:
            shutil.rmtree(self._folder / revision, ignore_errors=True)

    def observe(self, revisions: Collection[str]) -> dict[str, Servers]:
        """Implement `ModelServers.observe`."""
        commands = {revision: self._commands.of(revision) for revision in revisions}
        if not any(commands.values()):
            return {}
        programs = self._programs()
        return {
            revision: self._servers(command, programs)
            for revision, command in commands.items()
            if command is not None
        }

    def known(self) -> frozenset[str]:
        """Implement `ModelServers.known`."""
        return self._commands.known()

    def warm(self, spec: ServerSpec) -> int:
        """Implement `ModelServers.warm`."""
        cases = self._golden(spec.revision)["cases"]
        return asking.warm_up(self._ready_addresses(spec), spec.name, cases)

    def ask_golden(self, spec: ServerSpec) -> Golden:
        """Implement `ModelServers.ask_golden`."""
        requests = self._golden(spec.revision)
        return asking.ask_golden(
            self._ready_addresses(spec),
            spec.name,
            spec.digest,
            requests["cases"],
            tolerance=requests["tolerance"],
        )

    def free_memory_mb(self) -> int:
        """Implement `ModelServers.free_memory_mb`."""
        return max(0, psutil.virtual_memory().available // 1024**2 - RESERVE_MB)

    def drop_logs(self, *, now: datetime, after: timedelta = LOGS_KEPT) -> int:
        """Drop the logs of servers that are gone, once nothing was written for `after`.

        Returns:
            How many files were dropped.
        """
        known, dropped = self.known(), 0
        for path in (self._home / "logs" / "servers").glob("*.log*"):
            revision = path.name.partition(".log")[0].rpartition("-")[0]
            if revision not in known and path.stat().st_mtime < (now - after).timestamp():
                path.unlink(missing_ok=True)
                dropped += 1
        return dropped

    def _bring_up(self, command: Command, index: int, status: ProcessStatus | None) -> None:
        name = program(command.spec.revision, index)
        given_up = status is not None and status.state in ("FATAL", "EXITED", "STOPPED")
        if given_up and not ports.is_free(command.ports[index]):
            command = self._commands.choose_ports(command.spec, taken=command.ports[index])
        plan = self._plan(command, index)
        if status is None or given_up:
            self._supervisor.add(
                name,
                argv=_command(plan),
                cwd=plan.cwd,
                log=self._log(command.spec.revision, index),
                start_seconds=int(plan.start_seconds),
                retries=RETRIES,
                stop_seconds=int(plan.stop_seconds),
            )
        if given_up:
            self._supervisor.start(name)
        elif status is not None and self._hangs(name, status, plan):
            self._supervisor.stop(name, wait=False)  # and the next call starts it

    def _take_down(self, status: ProcessStatus) -> None:
        """Ask a process to end, or forget it once it has; one call a time, no waiting."""
        if status.state in ("RUNNING", "STARTING", "BACKOFF"):
            self._supervisor.stop(status.name, wait=False)
        elif status.state == "STOPPING":
            # Between its fork and its exec a process still has the supervisor's own handler, which
            # swallows the signal: asked only once, it would live until it is killed.
            self._supervisor.signal(status.name, "TERM")
        else:
            self._supervisor.remove(status.name)
            self._answered.pop(status.name, None)

    def _servers(self, command: Command, programs: Mapping[str, ProcessStatus]) -> Servers:
        there = _of(command.spec.revision, programs)
        indexes = sorted(set(range(command.spec.replicas)) | set(there))
        replicas = tuple(
            self._replica(command, i, programs.get(there.get(i, ""))) for i in indexes
        )
        unwell = (ReplicaState.CRASHING, ReplicaState.FAILED)
        ill = next((r for r in replicas if r.state in unwell), None)
        return Servers(
            generation=command.spec.generation,
            replicas=replicas,
            problem=self._words(command, ill.index) if ill else None,
        )

    def _replica(self, command: Command, index: int, status: ProcessStatus | None) -> Replica:
        port = command.ports[index] if index < len(command.ports) else None
        if status is None:
            return Replica(index, port, None, ReplicaState.MISSING)
        seen = self._state_of(status, self._plan(command, index))
        return Replica(index, port, status.pid, seen, status.since.timestamp())

    def _state_of(self, status: ProcessStatus, plan: launch.LaunchPlan) -> ReplicaState:
        seen = _SEEN.get(status.state)
        told = read_json(plan.problem) if seen is ReplicaState.CRASHING else {}
        if told.get("status") in launch.HOPELESS:
            return ReplicaState.FAILED  # the supervisor would try again, for nothing
        if seen is not None:
            return seen
        if self._is_ready(status, plan):
            return ReplicaState.READY
        hangs = self._hangs(status.name, status, plan)
        return ReplicaState.FAILED if hangs else ReplicaState.STARTING

    def _is_ready(self, status: ProcessStatus, plan: launch.LaunchPlan) -> bool:
        last, now = self._answered.get(status.name), self._clock()
        if last and last.pid == status.pid and now - last.at < READY_FOR:
            return True
        if not asking.is_ready(plan.address, plan.ready_path):
            return False
        self._answered[status.name] = _Answered(status.pid or 0, now)
        return True

    def _hangs(self, name: str, status: ProcessStatus, plan: launch.LaunchPlan) -> bool:
        """Return whether a running process should have answered long ago."""
        last = self._answered.get(name)
        since = last.at if last and last.pid == status.pid else status.since.timestamp()
        allowed = plan.start_seconds + HUNG_AFTER
        running = status.state in ("RUNNING", "STARTING")
        return running and self._clock() - since > allowed

    def _words(self, command: Command, index: int) -> Problem:
        """Return what a server said before it ended."""
        told = read_json(self._plan(command, index).problem)
        words = str(told.get("words") or "").strip()
        if told.get("sentence"):
            sentence = str(told["sentence"])
            return Problem(
                str(told.get("code") or "server.failed"),
                f"{sentence} The server said: {words}" if words else sentence,
                str(told.get("remedy") or ""),
            )
        log = self._log(command.spec.revision, index)
        last = _last_lines(log)
        return Problem(
            "server.failed",
            f"The model server ended. Its last words: {last}" if last else
            "The model server ended and left no words.",
            f"Its log is {log}.",
        )  # fmt: skip

    def _plan(self, command: Command, index: int) -> launch.LaunchPlan:
        spec = command.spec
        return launch.plan(
            spec.runtime,
            bundle=self._bundle(spec.revision),
            name=spec.name,
            revision=spec.number,
            digest=spec.digest,
            port=command.ports[index],
            home=self._home,
            configuration=spec.configuration,
        )

    def _programs(self, *, fresh: bool = False) -> dict[str, ProcessStatus]:
        at, programs = self._listed
        if fresh or not 0 <= self._clock() - at < FRESH:
            programs = {p.name: p for p in self._supervisor.status()}
            self._listed = (self._clock(), programs)
        return programs

    def _forget_listing(self) -> None:
        self._listed = (-1, {})

    def _ready_addresses(self, spec: ServerSpec) -> list[str]:
        servers = self.observe([spec.revision]).get(spec.revision)
        ready = servers.ready_ports(below=spec.replicas) if servers else ()
        if len(ready) < spec.replicas:
            raise Transient(
                f"{len(ready)} of {spec.replicas} replicas are ready.", code="server.not_ready"
            )
        return [f"http://{launch.HOST}:{port}" for port in ready]

    def _golden(self, revision: str) -> dict[str, Any]:
        bundle = self._bundle(revision)
        name = read_json(bundle / "bundle.json").get("golden")
        return {"tolerance": 0.0, "cases": [], **(read_json(bundle / name) if name else {})}

    def _bundle(self, revision: str) -> Path:
        return self._folder / revision / "bundle"

    def _log(self, revision: str, index: int) -> Path:
        return self._home / "logs" / "servers" / f"{revision}-{index}.log"


# What the supervisor's words mean for a replica; a state that is not here means that it runs.
_SEEN = {
    "STOPPED": ReplicaState.MISSING,
    "STOPPING": ReplicaState.STARTING,
    "BACKOFF": ReplicaState.CRASHING,
    "EXITED": ReplicaState.CRASHING,
    "FATAL": ReplicaState.FAILED,
    "UNKNOWN": ReplicaState.FAILED,
}


def program(revision: str, index: int) -> str:
    """Return the supervisor's name for one replica."""
    return f"server-{revision}-{index}"


def _command(plan: launch.LaunchPlan) -> list[str]:
    """Return the command that makes what the server needs and then becomes the server.

    It gets the plan's environment and nothing of the supervisor's, which knows secrets; only the
    tag stays by which the stack finds its own processes again.
    """
    variables = [shlex.quote(f"{name}={value}") for name, value in plan.environment.items()]
    clean = f'env -i MODELYARD_INSTANCE="$MODELYARD_INSTANCE" {" ".join(variables)}'
    server = f"exec {clean} {shlex.join(plan.argv)}"
    if plan.prepare is None:
        return ["/bin/sh", "-c", server]
    return ["/bin/sh", "-c", f"{clean} {shlex.join(plan.prepare)} && {server}"]


def _of(revision: str, programs: Mapping[str, ProcessStatus]) -> dict[int, str]:
    start = f"server-{revision}-"
    return {
        int(name.removeprefix(start)): name
        for name in programs
        if name.startswith(start) and name.removeprefix(start).isdigit()
    }


def _last_lines(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return " / ".join(line.strip() for line in lines if line.strip())[-600:]
