"""How a model server is started on this machine: an exact command, and where to look at it.

`plan` starts nothing and touches no file. The servers are `workers.runtimes`; this
module knows them by their command line only.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apps.endpoints.domain import runtimes

HOST = "127.0.0.1"

# A server that cannot ever start says so by its exit status, and in `LaunchPlan.problem`.
# Starting it again without a change cannot help. Any other status is worth another try.
HOPELESS = frozenset({65, 70, 78})  # EX_DATAERR, EX_SOFTWARE, EX_CONFIG of sysexits.h

MODULES = {
    runtimes.ONNXRUNTIME: "workers.runtimes.onnx",
    runtimes.TRITON: "workers.runtimes.triton",
    runtimes.MLFLOW_PYFUNC: "workers.runtimes.pyfunc",
}

# Servers get nothing of ours: no database address, no secret key. Only what programs need to run.
INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "UV_INDEX_URL", "UV_DEFAULT_INDEX",
    "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_CACHE_DIR", "UV_CONFIG_FILE",
)  # fmt: skip


@dataclass(frozen=True)
class LaunchPlan:
    """Everything that is needed to start and watch one replica.

    Attributes:
        prepare: Run this first, to its end: it makes the environment, or finds it made, in
            a moment. None when nothing is needed. Status 0 is success; otherwise `problem`
            tells why, and a status in `HOPELESS` means that trying again cannot help.
        argv: The server, as one process in the foreground that stops cleanly on SIGTERM.
        environment: All of it; nothing is inherited.
        cwd: Where it runs.
        problem: Written when `prepare` or the server gives up, removed when it begins: a JSON
            object {"code", "sentence", "remedy", "words", "status"}; `words` are the server's own,
            `status` is the exit status.
        address: "host:port" of the Open Inference Protocol.
        metrics_url: Prometheus' text format.
    """

    prepare: list[str] | None
    argv: list[str]
    environment: dict[str, str]
    cwd: Path
    problem: Path
    address: str
    metrics_url: str
    ready_path: str = "/v2/health/ready"
    live_path: str = "/v2/health/live"
    start_seconds: float = 60
    stop_seconds: float = 35

    @property
    def metrics_port(self) -> int:
        """The port of `metrics_url`."""
        return int(self.metrics_url.rsplit(":", 1)[1].split("/")[0])


def plan(
    runtime: str,
    *,
    bundle: Path,
    name: str,
    revision: int,
    digest: str,
    port: int,
    home: Path,
    configuration: Mapping[str, object] | None = None,
) -> LaunchPlan:
    """Return how to start one replica.

    Args:
        runtime: A name in the runtime catalogue.
        bundle: The materialised bundle.
        name: The model's name in the protocol: the endpoint's.
        revision: The revision's number: the model's version in the protocol.
        digest: Of the bundle; the server hashes the files again and refuses others.
        port: Free, on the loopback interface.
        home: MODELYARD_HOME; locked environments are kept below it.
        configuration: The revision's; see `runtimes.configure`.

    Raises:
        Invalid: There is no such runtime, or the configuration does not fit it.
    """
    chosen = runtimes.runtime(runtime)
    settings = runtimes.configure(chosen, configuration or {})
    problem = bundle.with_name(f"{bundle.name}.problem-{port}.json")
    arguments = [
        f"--bundle={bundle}",
        f"--name={name}",
        f"--revision={revision}",
        f"--digest={digest}",
        f"--host={HOST}",
        f"--port={port}",
        f"--home={home}",
        f"--problem={problem}",
        f"--settings={json.dumps(settings, sort_keys=True)}",
    ]
    prepare = [sys.executable, "-m", "workers.runtimes.prepare", chosen.name, *arguments]
    return LaunchPlan(
        prepare=prepare if chosen.prepared else None,
        argv=[sys.executable, "-m", MODULES[chosen.name], *arguments],
        environment=_environment(settings),
        cwd=home,
        problem=problem,
        address=f"{HOST}:{port}",
        metrics_url=f"http://{_metrics_host(chosen.name)}:{port}{chosen.metrics_path}",
        ready_path=chosen.health_path,
        start_seconds=chosen.start_within.total_seconds(),
        stop_seconds=chosen.stop_within.total_seconds(),
    )


def _environment(settings: Mapping[str, int]) -> dict[str, str]:
    threads = str(settings.get("threads", 1))
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a folder named like a module below `cwd` must not be imported
        # ONNX Runtime and MLflow report home by default; what is served here is nobody's business.
        "ORT_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


def _metrics_host(runtime: str) -> str:
    # Triton has a listener of its own for metrics. On Linux every 127.x.y.z is this machine,
    # so a second address spares it a second port.
    return "127.0.0.2" if runtime == runtimes.TRITON else HOST
