"""The process supervisor of this machine, spoken to over its Unix socket.

One supervisord runs everything: the parts of the stack and the model servers. A program is
two files below `run/servers/`: NAME.json says what to run, NAME.conf tells supervisord of it.
They are read again when supervisord itself is restarted, so what was added stays added.
"""

import contextlib
import http.client
import json
import os
import re
import socket
import sys
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controlplane.drivers.local import start
from controlplane.kernel.errors import ControlPlaneError, Missing, Permanent, Transient

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
LOG_BYTES, LOG_BACKUPS = 10_000_000, 3
BAD_NAME, NOT_RUNNING, ALREADY_STARTED, ALREADY_ADDED = 10, 70, 60, 90


@dataclass(frozen=True)
class ProcessStatus:
    """What the supervisor knows of one program.

    Attributes:
        name: The program's name.
        state: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN.
        pid: Its process, None when it has none.
        since: When it came into this state.
        exit_status: How it ended; None in every state but EXITED.
        description: The supervisor's own words ("pid 12, uptime 0:00:10", "Exited too quickly").
    """

    name: str
    state: str
    pid: int | None
    since: datetime
    exit_status: int | None
    description: str


class Supervisor:
    """A client of the supervisor that listens on `socket`.

    Every call raises `Transient` when the supervisor does not answer.
    """

    def __init__(self, socket: str | Path, *, seconds: float = 45) -> None:
        """Remember where it listens; nothing is opened yet."""
        self._socket, self._seconds = Path(socket), seconds
        self._servers = self._socket.parent / "servers"

    def add(
        self,
        name: str,
        *,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        log: str | Path,
        autostart: bool = True,
        start_seconds: int = 1,
        retries: int = 5,
        stop_seconds: int = 10,
        stop_signal: str = "TERM",
    ) -> None:
        """Have a program supervised: started, and started again when it ends.

        Adding what is already there changes nothing; adding it differently replaces it.

        Args:
            name: Its name; letters, digits, dots, dashes.
            argv: The command.
            environment: Added to the supervisor's own environment.
            cwd: The working folder.
            log: Where its output goes; rotated.
            autostart: Whether it starts with the supervisor, and now.
            start_seconds: How long it must live to count as started.
            retries: How often a failed start is repeated, each a second later than the last.
            stop_seconds: How long it may take to end before it is killed.
            stop_signal: What asks it to end, "TERM" or "INT" or "QUIT".
        """
        program = Program(
            name=name,
            argv=tuple(argv),
            environment=dict(environment or {}),
            cwd=str(cwd),
            log=Path(log),
            autostart=autostart,
            start_seconds=start_seconds,
            retries=retries,
            stop_seconds=stop_seconds,
            stop_signal=stop_signal,
        )
        changed = program.write(self._servers)
        with self._rpc() as rpc:
            if changed and self._known(rpc, name):
                self._drop(rpc, name)
            rpc.reloadConfig()
            _ignore(lambda: rpc.addProcessGroup(name), ALREADY_ADDED)

    def remove(self, name: str) -> None:
        """Stop a program and forget it; one that is not there is no error."""
        for suffix in (".conf", ".json"):
            (self._servers / f"{name}{suffix}").unlink(missing_ok=True)
        with self._rpc() as rpc:
            if self._known(rpc, name):
                self._drop(rpc, name)

    def status(self) -> list[ProcessStatus]:
        """Return every supervised program."""
        with self._rpc() as rpc:
            return [_status(info) for info in rpc.getAllProcessInfo()]

    def status_of(self, name: str) -> ProcessStatus | None:
        """Return one program, None when it is not supervised."""
        with self._rpc() as rpc:
            try:
                return _status(rpc.getProcessInfo(name))
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == BAD_NAME:
                    return None
                raise

    def start(self, name: str) -> None:
        """Start a program; one that runs is left alone."""
        with self._rpc() as rpc:
            _ignore(lambda: rpc.startProcess(name, False), ALREADY_STARTED)

    def stop(self, name: str, *, wait: bool = True) -> None:
        """Stop a program; one that does not run is left alone."""
        with self._rpc() as rpc:
            _ignore(lambda: rpc.stopProcess(name, wait), NOT_RUNNING)

    def signal(self, name: str, signal: str) -> None:
        """Send a process a signal such as "TERM"; a program without a process is left alone."""
        with self._rpc() as rpc:
            _ignore(lambda: rpc.signalProcess(name, signal), NOT_RUNNING)

    def restart(self, name: str) -> None:
        """Stop a program and start it again."""
        self.stop(name)
        self.start(name)

    def shutdown(self) -> None:
        """Ask the supervisor to stop everything and end."""
        with self._rpc() as rpc:
            rpc.shutdown()

    def pid(self) -> int:
        """Return the supervisor's own process."""
        with self._rpc() as rpc:
            return int(rpc.getPID())

    def _known(self, rpc: Any, name: str) -> bool:
        return any(info["group"] == name for info in rpc.getAllProcessInfo())

    def _drop(self, rpc: Any, name: str) -> None:
        _ignore(lambda: rpc.stopProcessGroup(name, True), BAD_NAME)
        _ignore(lambda: rpc.removeProcessGroup(name), BAD_NAME)

    @contextlib.contextmanager
    def _rpc(self) -> Iterator[Any]:
        """Yield the supervisor's methods, and translate what goes wrong."""
        transport = _UnixTransport(self._socket, self._seconds)
        try:
            with xmlrpc.client.ServerProxy("http://supervisor", transport=transport) as proxy:
                yield proxy.supervisor
        except xmlrpc.client.Fault as fault:
            raise _translated(fault) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise Transient(
                f"The process supervisor at {self._socket} does not answer: {error}.",
                remedy="Start the stack with `manage.py up`.",
                code="supervisor.unreachable",
            ) from error


@dataclass(frozen=True)
class Program:
    """One supervised program, as its two files say it; see `Supervisor.add`."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    cwd: str
    log: Path
    autostart: bool = True
    start_seconds: int = 1
    retries: int = 5
    stop_seconds: int = 10
    stop_signal: str = "TERM"

    def write(self, folder: Path) -> bool:
        """Write the two files, whole or not at all, and return whether anything changed."""
        before = _text(folder / f"{self.name}.json")
        launch = self.write_launch(folder)
        changed = _write(folder / f"{self.name}.conf", self._section(launch))
        return changed or before != self._launch()

    def write_launch(self, folder: Path) -> Path:
        """Write what `start.py` reads, and return its path."""
        if not NAME.fullmatch(self.name):
            raise Permanent(f"{self.name!r} cannot name a program.", code="supervisor.name")
        folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        launch = folder / f"{self.name}.json"
        _write(launch, self._launch())
        return launch

    def _launch(self) -> str:
        launch = {
            "argv": self.argv,
            "environment": {**self.environment, "MODELYARD_PART": self.name},
            "cwd": self.cwd,
            "stop_signal": self.stop_signal,
        }
        return json.dumps(launch, indent=1, sort_keys=True)

    def _section(self, launch: Path) -> str:
        command = f"{_quoted(sys.executable)} -I {_quoted(start.__file__)} {_quoted(launch)}"
        return f"""[program:{self.name}]
command={command}
autostart={str(self.autostart).lower()}
autorestart=true
startsecs={self.start_seconds}
startretries={self.retries}
stopsignal={self.stop_signal}
stopwaitsecs={self.stop_seconds}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={escaped(escaped(self.log))}
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups={LOG_BACKUPS}
"""


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self._path, self._seconds = path, seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # Kept where Transport.close() finds it, so that no socket outlives the call.
        known, connection = self._connection
        if connection is None or known != host:
            connection = _UnixConnection(self._path, self._seconds)
            self._connection = host, connection
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("supervisor", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def escaped(value: str | Path) -> str:
    """Return `value` as supervisord's configuration reads it back: it expands `%`."""
    return str(value).replace("%", "%%")


def _quoted(value: str | Path) -> str:
    return '"' + escaped(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(path: Path, text: str) -> bool:
    if _text(path) == text:
        return False
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.rename(path)
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _ignore(call: Callable[[], Any], *codes: int) -> None:
    """Make a call and take the answers in `codes` for a yes."""
    try:
        call()
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in codes:
            raise


def _translated(fault: xmlrpc.client.Fault) -> ControlPlaneError:
    if fault.faultCode == BAD_NAME:
        return Missing(f"No such program: {fault.faultString}.", code="supervisor.missing")
    return Permanent(f"The supervisor refused: {fault.faultString}.", code="supervisor.refused")


def _status(info: Mapping[str, Any]) -> ProcessStatus:
    runs = bool(info["pid"])
    seconds = info["start"] if runs else (info["stop"] or info["start"])
    return ProcessStatus(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] or None,
        since=datetime.fromtimestamp(seconds, UTC),
        exit_status=info["exitstatus"] if info["statename"] == "EXITED" else None,
        description=info["spawnerr"] or info["description"],
    )
