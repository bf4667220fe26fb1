"""`manage.py up`: the whole stack on this machine, until Ctrl-C."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from controlplane.drivers.local import addresses, parts, postgres
from controlplane.drivers.local.board import Board
from controlplane.drivers.local.home import Home
from controlplane.drivers.local.parts import Addresses
from controlplane.drivers.local.stack import Stack
from controlplane.kernel.errors import ControlPlaneError
from controlplane.project.management.commands.demo_people import FILE as PEOPLE
from controlplane.project.management.commands.prepare import PASSWORD
from controlplane.project.settings.env import current
from controlplane.project.stackview import StackView

SERVICES = ("DATABASE_URL", "BROKER_URL", "MLFLOW_URL")


class Command(BaseCommand):
    """Start everything, watch it, and stop everything at Ctrl-C."""

    help = (
        "Start the whole stack on this machine (PostgreSQL, Valkey, MLflow, web, workers, Envoy), "
        "keep it running, and stop all of it at Ctrl-C. State lies in MODELYARD_HOME."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, help="the web's port (8000, or the last one)")
        parser.add_argument("--serving-port", type=int, help="the endpoints' port (8080)")
        parser.add_argument("--mlflow-port", type=int, help="MLflow's port (5500)")
        parser.add_argument(
            "--parts",
            nargs="+",
            choices=parts.NAMES,
            help="run only these, beside what the environment names (containers do)",
        )
        parser.add_argument("--demo", action="store_true", help="fill it with the demonstration")
        parser.add_argument(
            "--ready-file",
            type=Path,
            help="write the addresses there as JSON when the stack serves, and again when all "
            "of it is healthy",
        )
        parser.add_argument("--plain", action="store_true", help="plain lines, no live table")

    def handle(self, **options: Any) -> None:
        """Run the stack until somebody asks it to stop."""
        home = Home(current().home)
        lock = _lock(home)
        console = Console(force_terminal=False if options["plain"] else None)
        try:
            _Run(home, console, options).until_stopped()
        except ControlPlaneError as error:
            raise CommandError(f"{error} {error.remedy}".strip()) from error
        finally:
            os.close(lock)


class _Run:
    """One run of the stack, from its start to its end."""

    def __init__(self, home: Home, console: Console, options: Mapping[str, Any]) -> None:
        self.home, self.console, self.options = home, console, options
        self.began = time.monotonic()
        self.stopping = False
        self.served = self.was_healthy = False
        self.had_password = (home.path / "secrets" / PASSWORD).exists()
        self.board = Board()
        self.view = StackView(self.board, console)
        self.at = self._choose_addresses()
        _write_lock(home, self.at)
        self.outside = frozenset(n for n in SERVICES if os.environ.keys() & {n, f"{n}_FILE"})
        self.stack = Stack(
            home=home,
            at=self.at,
            settings=_settings(home, self.at, self.outside),
            board=self.board,
            outside=self.outside,
            only=frozenset(options["parts"]) if options["parts"] else None,
            demo=options["demo"],
        )

    def until_stopped(self) -> None:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, self._stop)
        self.view.say(f"Starting Modelyard in {self.home.path}.")
        with self.view.shown():
            try:
                self._watch()
            finally:
                self.stack.end()
        self.view.say("Everything is stopped; `make demo` or `manage.py up` goes on from here.")

    def _watch(self) -> None:
        if not self.stopping:
            self.stack.begin()
        while not self.stopping:
            self.stack.step()
            self._report()
            time.sleep(0.5 if self.was_healthy else 0.15)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _choose_addresses(self) -> Addresses:
        asked = {
            "web": self.options["port"],
            "serving": self.options["serving_port"],
            "mlflow": self.options["mlflow_port"],
        }
        at, moved = addresses.choose(self.home, host=self.options["host"], asked=asked)
        for name, choice in moved.items():
            self.view.say(
                f"Port {choice.wanted} for {name} is taken by {choice.holder}; "
                f"using {choice.port}."
            )
        return at

    def _report(self) -> None:
        """Say once that the stack serves, and once that all of it is healthy."""
        if not self.served and self.stack.serves():
            self.served = True
            self._write_ready_file()
            self._say_where()
        if not self.was_healthy and self.stack.healthy():
            self.was_healthy = True
            self._write_ready_file()
            self.view.say(f"All parts are healthy after {self._seconds():.1f} s.")
            self._say_who()

    def _say_where(self) -> None:
        if "web" not in self.board.lines:
            return
        password = self.home.path / "secrets" / PASSWORD
        self.view.say(f"Modelyard is at [bold]{self.at.web_url}[/bold] (Ctrl-C stops it).")
        if not self.had_password and password.exists():
            secret = password.read_text().strip()
            self.view.say(f"Sign in as [bold]admin[/bold] with [bold]{secret}[/bold]")
        elif password.exists():
            self.view.say(f"Sign in as [bold]admin[/bold]; the password is in {password}.")

    def _say_who(self) -> None:
        """Introduce the people of the demonstration: an approval needs more than one."""
        path = self.home.path / "secrets" / PEOPLE
        if not self.options["demo"] or not path.exists():
            return
        self.view.say("A release needs several people. Sign in as one of them as well:")
        for name, told in json.loads(path.read_text()).items():
            self.view.say(f"  [bold]{name}[/bold] ({told['title']}) with {told['password']}")

    def _write_ready_file(self) -> None:
        path: Path | None = self.options["ready_file"]
        if path is None:
            return
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(json.dumps(self._readiness(), indent=1) + "\n")
        fresh.rename(path)

    def _readiness(self) -> dict[str, Any]:
        return {
            "web": self.at.web_url,
            "serving": self.at.serving_url,
            "mlflow": self.at.mlflow_url,
            "envoy_admin": parts.envoy_admin(self.home),
            "home": str(self.home.path),
            "pid": os.getpid(),
            "healthy": self.was_healthy,
            "seconds": round(self._seconds(), 2),
            "parts": {
                name: round(line.took, 2)
                for name, line in self.board.lines.items()
                if line.took is not None
            },
        }

    def _seconds(self) -> float:
        return time.monotonic() - self.began


def _lock(home: Home) -> int:
    """Hold this home, or say who does; the kernel lets go when we die, however we die."""
    path = home.path / "run" / "up.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        holder = path.read_text().strip() or "another `manage.py up`"
        raise CommandError(f"Modelyard already runs in {home.path}: {holder}.") from error
    os.truncate(descriptor, 0)
    return descriptor


def _write_lock(home: Home, at: Addresses) -> None:
    words = f"{at.web_url}, process {os.getpid()}"
    (home.path / "run" / "up.lock").write_text(words)


def _settings(home: Home, at: Addresses, outside: frozenset[str]) -> dict[str, str]:
    """Return what the stack's processes are told, without what the environment tells them."""
    settings = {
        "DATABASE_URL": postgres.database_url(home.path),
        "BROKER_URL": parts.broker_url(home),
        "MLFLOW_URL": at.mlflow_url,
        "MODELYARD_PUBLIC_URL": at.web_url,
        "MODELYARD_SERVING_URL": at.serving_url,
        "MODELYARD_SUPERVISOR": str(home.run / "supervisor.sock"),
        "MODELYARD_ENVOY_ADMIN": parts.envoy_admin(home),
        "MODELYARD_SECRET_KEY": home.secret("secret-key", length=64),
    }
    for name in outside:
        settings[name] = os.environ.get(name) or Path(os.environ[f"{name}_FILE"]).read_text()
    return {name: value.strip() for name, value in settings.items()}
