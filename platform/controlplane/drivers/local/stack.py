"""The embedded stack: one supervisord that runs every part, and one process that watches it.

`Stack.step` is level-triggered like everything here. It looks at what is, and does what is
missing, whether this is the first start, a part that died, or the supervisor itself killed.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from controlplane.drivers.envoy import bootstrap
from controlplane.drivers.local import leftovers, parts, postgres, start
from controlplane.drivers.local.board import Board, Phase
from controlplane.drivers.local.home import Home
from controlplane.drivers.local.parts import Addresses, Needs, Part
from controlplane.drivers.local.supervisor import (
    ProcessStatus,
    Program,
    Supervisor,
    escaped,
)
from controlplane.kernel.errors import ControlPlaneError, Permanent, Transient

DATABASES = (postgres.NAME, "mlflow")
SLOW_PARTS = frozenset({"mlflow"})  # the main job can be done before these are up
STORES = frozenset({"postgres", "valkey"})  # stopped after everything that writes to them
PROBE_AGAIN = 10.0  # seconds between probes of a part that works
IDENTITY = frozenset(  # of another stack, perhaps; ours has its own
    f"MODELYARD_{name}"
    for name in ("HOME", "INSTANCE", "PART", "GROUP", "SUPERVISOR", "ENVOY_ADMIN", "URL", "TOKEN")
)
# A token of the first admin, then the seeding and the traffic, as a person would do them by REST.
DEMO = (
    'MODELYARD_TOKEN=$("$0" manage.py token demo) && export MODELYARD_TOKEN '
    '&& PEOPLE=$("$0" manage.py demo_people) '
    '&& exec "$0" -m controlplane.cli.demo --mark "$1" --people "$PEOPLE"'
)
CONFIGURATION = """[supervisord]
nodaemon=true
silent=true
identifier=modelyard
logfile={log}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={run}/supervisor.pid
childlogdir={run}
{user}
[unix_http_server]
file={run}/supervisor.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = servers/*.conf
"""


@dataclass
class Seen:
    """What was last seen of one part.

    Attributes:
        pid: Its process.
        probed_at: When it last answered a probe, on the monotonic clock.
    """

    pid: int | None = None
    probed_at: float = 0.0


@dataclass
class Stack:
    """One running stack.

    Attributes:
        home: Where its state lies.
        at: Where it listens.
        settings: What every process of the stack is told through `stack.env`.
        board: Where progress is shown.
        outside: Services that the environment names, and that are not started here.
        only: The names of the parts to run; None for all.
        demo: Whether to fill the stack with the demonstration once it works.
    """

    home: Home
    at: Addresses
    settings: Mapping[str, str]
    board: Board
    outside: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    demo: bool = False
    _supervisor: subprocess.Popen[bytes] | None = None
    _added: set[str] = field(default_factory=set)
    _seen: dict[str, Seen] = field(default_factory=dict)
    _has_databases: bool = False
    _jobs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """List the parts."""
        every = parts.all_parts(self.home, self.at, outside=self.outside)
        self.parts = [part for part in every if self.only is None or part.name in self.only]
        self.client = Supervisor(self.home.run / "supervisor.sock")
        for part in self.parts:
            self.board.show(part.name, Phase.WAITING, _needed(part))
        if self._needs_schema():
            self.board.show("schema", Phase.WAITING, "needs the database")

    def begin(self) -> None:
        """Clear what an earlier run left, and start the supervisor with nothing of ours in it.

        Model servers that were running come up with it at once.
        """
        left = self._end_leftovers(quiet_seconds=0.2)
        if left:
            self.board.notice(f"Ended {left} processes that an earlier run had left.")
        self.home.write_settings(self.settings)
        bootstrap.write(
            self.home.path,
            port=self.at.serving,
            admin=parts.envoy_socket(self.home),
            host=self.at.host,
        )
        self._start_supervisor()

    def step(self) -> None:
        """Look once, and do what is missing.

        1. A supervisor that is gone: end what it left, start another.
        2. Parts whose needs are met: have them supervised.
        3. The databases and the schema, once PostgreSQL answers.
        4. Every part: show how it is, and start what the supervisor gave up.
        """
        if self._supervisor is None or self._supervisor.poll() is not None:
            self._recover()
        try:
            self._prepare()
            for part in self.parts:
                if part.name not in self._added and self._met(part.needs):
                    self._add(part)
            self._look()
        except Transient:
            return  # the supervisor did not answer; the next step sees whether it lives

    def serves(self) -> bool:
        """Return whether the main job can be done: all parts work, but perhaps the slow ones."""
        return self.board.all_ready(but=SLOW_PARTS | {"demo"})

    def healthy(self) -> bool:
        """Return whether every part works."""
        return self.board.all_ready()

    def end(self) -> None:
        """Stop everything, and leave nothing running.

        1. Everything but the two stores is asked to stop, all at once.
        2. The supervisor stops the rest and ends.
        3. Whatever else carries our tag (jobs of a worker, say) is ended.
        """
        for name, line in self.board.lines.items():
            if line.phase != Phase.STOPPED:
                self.board.show(name, Phase.STOPPING)
        for job in self._jobs.values():
            if job.poll() is None:
                job.terminate()
        try:
            self._stop_programs(but=STORES, seconds=20)
            self._stop_programs(but=frozenset(), seconds=40)
            self.client.shutdown()
        except ControlPlaneError:
            self.board.notice("The supervisor does not answer; ending its processes directly.")
        self._wait_for_supervisor(seconds=40)
        self._end_leftovers(quiet_seconds=0)
        for name in self.board.lines:
            self.board.show(name, Phase.STOPPED)

    def _recover(self) -> None:
        if self._supervisor is not None:
            self.board.notice("The supervisor ended unexpectedly; starting everything again.")
            self._end_leftovers(quiet_seconds=1)
        self._start_supervisor()

    def _end_leftovers(self, *, quiet_seconds: float) -> int:
        """End the processes of this instance, its supervisor first, and return their number."""
        found = leftovers.find(self.home.instance, data=self.home.data)
        if not found:
            return 0
        supervisors = [p for p in found if _is_part(p, "supervisor")]
        leftovers.end(supervisors, seconds=20, quiet_seconds=quiet_seconds)
        others = leftovers.find(self.home.instance, data=self.home.data)
        leftovers.end(others, seconds=10, quiet_seconds=quiet_seconds)
        return len(found)

    def _start_supervisor(self) -> None:
        for part in self.parts:
            for suffix in (".conf", ".json"):
                (self.home.run / "servers" / f"{part.name}{suffix}").unlink(missing_ok=True)
        configuration = self.home.run / "supervisor.conf"
        configuration.write_text(
            CONFIGURATION.format(
                log=escaped(self.home.log("supervisor")),
                run=escaped(self.home.run),
                user="user=root" if os.geteuid() == 0 else "",
            )
        )
        command = ("-m", "supervisor.supervisord", "-n", "-c", str(configuration))
        self._supervisor = self._launch("supervisor", (sys.executable, *command))
        self._added.clear()
        self._seen.clear()
        for part in self.parts:
            if self.board.phase(part.name) == Phase.READY:
                self.board.show(part.name, Phase.RESTARTING, part.where)
        self._wait_until_it_answers(seconds=15)

    def _wait_until_it_answers(self, *, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                self.client.pid()
                return
            except Transient:
                if time.monotonic() > end or self._supervisor_ended():
                    raise
                time.sleep(0.05)

    def _supervisor_ended(self) -> bool:
        return self._supervisor is None or self._supervisor.poll() is not None

    def _prepare(self) -> None:
        """Make the databases, then bring the schema up to this code, once."""
        if not self._has_databases and self._answers("postgres"):
            self._make_databases()
        if self._has_databases and self._needs_schema() and "schema" not in self._jobs:
            command = (sys.executable, str(parts.ROOT / "manage.py"), "prepare")
            self._jobs["schema"] = self._launch("schema", command)
            self.board.show("schema", Phase.STARTING, "tables, accounts, environments")

    def _needs_schema(self) -> bool:
        return any(part.needs == Needs.SCHEMA for part in self.parts)

    def _answers(self, name: str) -> bool:
        outside = name == "postgres" and "DATABASE_URL" in self.outside
        return outside or self.board.phase(name) == Phase.READY

    def _make_databases(self) -> None:
        if "DATABASE_URL" not in self.outside:
            try:
                for name in DATABASES:
                    postgres.ensure_database(self.home.path, name)
            except psycopg.OperationalError:
                return
        self._has_databases = True

    def _met(self, needs: Needs) -> bool:
        match needs:
            case Needs.NOTHING:
                return True
            case Needs.DATABASE:
                return self._has_databases and self._answers("postgres")
            case Needs.SCHEMA:
                return self._is_prepared() and self._answers("postgres")

    def _is_prepared(self) -> bool:
        job = self._jobs.get("schema")
        status = job.poll() if job else None
        if status:
            log = self.home.log("schema")
            raise Permanent(
                f"The database could not be prepared: {_last_line(log)}",
                remedy=f"The whole story is in {log}.",
                code="stack.schema_failed",
            )
        if status == 0:
            self.board.show("schema", Phase.READY)
        return status == 0

    def _add(self, part: Part) -> None:
        self.client.add(
            part.name,
            argv=part.argv,
            environment={**self._environment(), **part.environment},
            cwd=parts.ROOT,
            log=self.home.log(part.name),
            start_seconds=part.start_seconds,
            retries=1000,
            stop_seconds=part.stop_seconds,
            stop_signal=part.stop_signal,
        )
        self._added.add(part.name)
        if self.board.phase(part.name) == Phase.WAITING:
            self.board.show(part.name, Phase.STARTING, part.where)

    def _look(self) -> None:
        statuses = {status.name: status for status in self.client.status()}
        for part in self.parts:
            if status := statuses.get(part.name):
                self._look_at(part, status)
        self._look_at_demo()

    def _look_at(self, part: Part, status: ProcessStatus) -> None:
        seen = self._seen.setdefault(part.name, Seen())
        if seen.pid and status.pid != seen.pid:
            self.board.notice(f"{part.name} (process {seen.pid}) ended unexpectedly; restarting.")
            self.board.show(part.name, Phase.RESTARTING, part.where)
            seen.pid = None
        if status.state == "FATAL":
            self.client.start(part.name)
        if status.state not in ("RUNNING", "STARTING") or status.pid is None:
            self._show_trouble(part, status)
            return
        if seen.pid == status.pid and time.monotonic() - seen.probed_at < PROBE_AGAIN:
            return
        if part.healthy(status.pid):
            self._show_ready(part)
            seen.pid, seen.probed_at = status.pid, time.monotonic()
        elif self.board.phase(part.name) == Phase.READY:
            self.board.show(part.name, Phase.RESTARTING, "does not answer")

    def _show_trouble(self, part: Part, status: ProcessStatus) -> None:
        if status.state in ("BACKOFF", "FATAL", "EXITED"):
            words = _last_line(self.home.log(part.name)) or status.description
            self.board.show(part.name, Phase.RESTARTING, words)

    def _show_ready(self, part: Part) -> None:
        again = self.board.phase(part.name) == Phase.RESTARTING
        self.board.show(part.name, Phase.READY, part.where)
        if again:
            self.board.notice(f"{part.name} is back.")

    def _look_at_demo(self) -> None:
        if not self.demo or not self.serves():
            return
        mark = self.home.path / "run" / "demo.mark"
        if "demo" not in self._jobs:
            mark.unlink(missing_ok=True)
            self.board.show("demo", Phase.STARTING)
            command = ("/bin/sh", "-c", DEMO, sys.executable, str(mark))
            self._jobs["demo"] = self._launch("demo", command, MODELYARD_URL=self.at.web_url)
        failed = self._jobs["demo"].poll()
        phase = Phase.FAILED if failed else Phase.READY if mark.exists() else Phase.STARTING
        self.board.show("demo", phase, _last_line(self.home.log("demo")))

    def _launch(
        self, name: str, argv: tuple[str, ...], **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a process of our own that ends when we do, even when we are killed."""
        program = Program(
            name=name,
            argv=argv,
            environment={**self._environment(), **environment},
            cwd=str(parts.ROOT),
            log=self.home.log(name),
        )
        launch = program.write_launch(self.home.run)
        with program.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", start.__file__, str(launch)],
                env={name: value for name, value in os.environ.items() if _may_pass(name)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        return {
            "MODELYARD_HOME": str(self.home.path),
            leftovers.TAG: self.home.instance,
            "PYTHONUNBUFFERED": "1",
        }

    def _stop_programs(self, *, but: frozenset[str], seconds: float) -> None:
        for status in self.client.status():
            if status.name not in but:
                self.client.stop(status.name, wait=False)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            living = {status.name for status in self.client.status() if status.pid}
            for name in self.board.lines.keys() - living - but:
                self.board.show(name, Phase.STOPPED)
            if not living - but:
                return
            time.sleep(0.1)

    def _wait_for_supervisor(self, *, seconds: float) -> None:
        if self._supervisor is None:
            return
        try:
            self._supervisor.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()


def _needed(part: Part) -> str:
    return "" if part.needs == Needs.NOTHING else f"needs the {part.needs.value}"


def _may_pass(name: str) -> bool:
    """Keep another stack's identity out of ours, and what would compile all code anew."""
    return name not in IDENTITY and name != "PYTHONDONTWRITEBYTECODE"


def _is_part(process: psutil.Process, name: str) -> bool:
    try:
        return process.environ().get("MODELYARD_PART") == name
    except psutil.Error:
        return False


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
