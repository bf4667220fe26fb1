"""The default runtime against MLServer, KServe's SDK and `mlflow models serve`, on the same model.

Every server has one worker and an environment of its own, and answers the same row of the same
scikit-learn pipeline: the peers by their own scikit-learn runtimes, ours from the ONNX that a
build makes of it. Load is closed-loop, by `wrk` where it is installed. Ours and a peer are pressed
in turns, and the round with the middle ratio counts.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench import load, results
from controlplane.drivers.local import launch
from controlplane.drivers.mlflow.mlmodel import MLFLOW_VERSION, as_mlflow_folder
from controlplane.drivers.oci.layout import OciLayout
from workers.runtimes import environments

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".modelyard-bench"
SECONDS = 2
ROUNDS = 3
CONNECTIONS = (1, 16)
MLSERVER, KSERVE = "1.7.1", "0.21.0"
ROW = load_breast_cancer().data[:1].astype(np.float32)

KSERVE_SERVER = """
import sys

import joblib
from kserve import InferOutput, InferResponse, Model, ModelServer


class Cancer(Model):
    def __init__(self, path):
        super().__init__("cancer")
        self.model = joblib.load(path)
        self.ready = True

    def predict(self, request, headers=None, response_headers=None):
        labels = self.model.predict(request.inputs[0].as_numpy())
        output = InferOutput("label", [len(labels)], "INT64", data=labels.tolist())
        return InferResponse(request.id or "-", "cancer", [output])


path, port = sys.argv[1:]
ModelServer(http_port=int(port), workers=1, enable_grpc=False).start([Cancer(path)])
"""


@dataclass(frozen=True)
class Peer:
    """A server to measure.

    Attributes:
        name: As its makers write it.
        path: Where it takes predictions.
        body: The request.
        health: Answers 200 when it is ready.
        command: Makes the command line from a port.
        environment: Added to this process's.
    """

    name: str
    path: str
    body: dict[str, Any]
    health: str
    command: Callable[[int], list[str]]
    environment: dict[str, str]


@dataclass(frozen=True)
class Speed:
    """What was measured of one server at one number of connections."""

    per_second: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Measure everybody and write bench/results/runtimes.json."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="my-runtimes-") as folder:
        work = Path(folder)
        ours, *peers = _servers(work)
        with _running(ours, work) as (address, ready_seconds):
            figures = [row for peer in peers for row in _beside(ours, address, peer, work)]
    figures.append(results.figure("start to ready", ready_seconds, "s"))
    path = results.save(
        "runtimes", figures, mlserver=MLSERVER, kserve=KSERVE, load=_load_generator()
    )
    print(f"Wrote {path}.")


def _beside(ours: Peer, address: str, peer: Peer, work: Path) -> list[dict[str, Any]]:
    """Return the figures of ours and of `peer`, pressed in turns to meet the same noise."""
    with _running(peer, work) as (theirs, _):
        for server, url in ((ours, address), (peer, theirs)):
            _press(url, server, connections=4, seconds=1)  # not counted: they are warm afterwards
        return [
            row
            for connections in CONNECTIONS
            for row in _compared(
                peer.name,
                connections,
                [
                    (
                        _press(address, ours, connections=connections, seconds=SECONDS),
                        _press(theirs, peer, connections=connections, seconds=SECONDS),
                    )
                    for _ in range(ROUNDS)
                ],
            )
        ]


def _compared(
    peer: str, connections: int, rounds: list[tuple[Speed, Speed]]
) -> Iterator[dict[str, Any]]:
    """Yield the figures of the round whose ratio is the middle one."""
    in_order = sorted(rounds, key=lambda pair: pair[0].per_second / pair[1].per_second)
    mine, theirs = in_order[len(in_order) // 2]
    where = f"at {connections} connection{'s' if connections > 1 else ''}"
    print(
        f"  {where}: {mine.per_second:.0f} requests/s; {peer} {theirs.per_second:.0f}", flush=True
    )
    yield results.figure(
        f"predictions {where}", mine.per_second, "requests/s", peer, theirs.per_second
    )
    yield results.figure(f"p50 {where}", mine.p50_ms, "ms", peer, theirs.p50_ms)
    yield results.figure(f"p99 {where}", mine.p99_ms, "ms", peer, theirs.p99_ms)


@contextmanager
def _running(peer: Peer, work: Path) -> Iterator[tuple[str, float]]:
    """Start a server, and yield its address and the seconds until it was ready."""
    print(f"Starting {peer.name} ...", flush=True)
    port, began = _free_port(), time.monotonic()
    url, words = f"http://127.0.0.1:{port}", work / f"{port}.log"
    with words.open("wb") as log:
        process = subprocess.Popen(
            peer.command(port),
            env=os.environ | ONE_THREAD | peer.environment,
            cwd=work,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(url + peer.health, process, words)
        ready_seconds = time.monotonic() - began
        httpx.post(url + peer.path, json=peer.body, timeout=60).raise_for_status()
        yield url, ready_seconds
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group that was started here: some servers start further processes."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{url} did not answer:\n{log.read_text()[-3000:]}")


def _press(url: str, peer: Peer, *, connections: int, seconds: int) -> Speed:
    if shutil.which("wrk"):
        return _wrk(url, peer, connections, seconds)
    ask = load.Ask("POST", peer.path, peer.body)
    found = load.run(url, lambda _: ask, seconds=seconds, connections=connections)
    if found.failed:
        raise SystemExit(f"{peer.name} failed: {found.first_failure}")
    return Speed(found.per_second, found.p50_ms, found.p99_ms)


# One thread for everybody: on a small machine, idle ones would spin against the server's own.
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}

WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = io.open(os.getenv("BODY")):read("*a")
done = function(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.read + summary.errors.timeout
  print(string.format("FOUND %f %f %f %d", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
"""


def _wrk(url: str, peer: Peer, connections: int, seconds: int) -> Speed:
    with tempfile.TemporaryDirectory() as folder:
        script, body = Path(folder, "post.lua"), Path(folder, "body.json")
        script.write_text(WRK)
        body.write_text(json.dumps(peer.body))
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"-s{script}", url + peer.path],
            env=os.environ | {"BODY": str(body)},
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"FOUND (\S+) (\S+) (\S+) (\d+)", done.stdout)
    if not found or found.group(4) != "0":
        raise SystemExit(f"{peer.name} failed under load:\n{done.stdout}")
    return Speed(*(float(found.group(n)) for n in (1, 2, 3)))


def _load_generator() -> str:
    if not shutil.which("wrk"):
        return "bench.load"
    words = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return " ".join((words.stdout + words.stderr).split()[:2])


def _servers(work: Path) -> list[Peer]:
    """Return ours first, then the peers, with the model written in the form that each takes."""
    data = load_breast_cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
    saved = work / "model" / "model.joblib"
    saved.parent.mkdir()
    joblib.dump(model, saved)
    return [_ours(work, model), _mlserver(saved), _kserve(work, saved), _mlflow(work, saved)]


def _oip(name: str) -> dict[str, Any]:
    entry = {"name": name, "datatype": "FP32", "shape": [1, 30], "data": ROW[0].tolist()}
    return {"inputs": [entry]}


def _ours(work: Path, model: Any) -> Peer:
    (work / "model.onnx").write_bytes(
        to_onnx(model, ROW, options={"zipmap": False}).SerializeToString()
    )
    layout = OciLayout(work / "bundles")
    config = {"schema": 1, "format": "onnx", "entry": "model.onnx", "inputs": [], "outputs": []}
    digest = layout.write({"model.onnx": work / "model.onnx"}, config)
    layout.materialise(digest, work / "servers" / "1")

    def plan(port: int) -> launch.LaunchPlan:
        return launch.plan(
            "onnxruntime",
            bundle=work / "servers" / "1",
            name="cancer",
            revision=1,
            digest=digest,
            port=port,
            home=work,
        )

    return Peer(
        "Modelyard",
        "/v2/models/cancer/infer",
        _oip("X"),
        "/v2/health/ready",
        lambda port: plan(port).argv,
        plan(0).environment,
    )


def _mlserver(saved: Path) -> Peer:
    folder = _environment("mlserver", f"mlserver=={MLSERVER}", f"mlserver-sklearn=={MLSERVER}")
    model = {
        "name": "cancer",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(saved)},
    }
    (saved.parent / "model-settings.json").write_text(json.dumps(model))

    def command(port: int) -> list[str]:
        ports = {"http_port": port, "grpc_port": _free_port(), "metrics_port": _free_port()}
        told = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
        (saved.parent / "settings.json").write_text(json.dumps(told))
        return _module(folder, "mlserver.cli.main", "start", str(saved.parent))

    health = "/v2/models/cancer/ready"
    return Peer("MLServer", "/v2/models/cancer/infer", _oip("predict"), health, command, {})


def _kserve(work: Path, saved: Path) -> Peer:
    folder = _environment("kserve", f"kserve=={KSERVE}")
    script = work / "kserve_server.py"
    script.write_text(KSERVE_SERVER)

    def command(port: int) -> list[str]:
        return [str(environments.python(folder)), str(script), str(saved), str(port)]

    health = "/v2/models/cancer/ready"
    return Peer("KServe SDK", "/v2/models/cancer/infer", _oip("X"), health, command, {})


def _mlflow(work: Path, saved: Path) -> Peer:
    folder = _environment("mlflow", f"mlflow=={MLFLOW_VERSION}")
    (work / "files").mkdir()
    shutil.copy(saved, work / "files")
    as_mlflow_folder(
        files=work / "files",
        format="sklearn",
        inputs=[],
        outputs=[],
        requirements=[],
        target=work / "mlflow",
    )

    def command(port: int) -> list[str]:
        serve = ["models", "serve", "-m", str(work / "mlflow"), "--env-manager", "local"]
        return _module(folder, "mlflow", *serve, "--workers", "1", "--port", str(port))

    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    body = {"inputs": ROW.tolist()}
    return Peer("mlflow models serve", "/invocations", body, "/ping", command, {"PATH": path})


def _module(folder: Path, module: str, *arguments: str) -> list[str]:
    return [str(environments.python(folder)), "-m", module, *arguments]


def _environment(name: str, *requirements: str) -> Path:
    """Return the environment of a peer, made on the first run, with our scikit-learn in it."""
    print(f"Preparing {name} ...", flush=True)
    listed = CACHE / f"{name}.txt"
    libraries = (f"scikit-learn=={version('scikit-learn')}", f"joblib=={version('joblib')}")
    listed.write_text("\n".join([*requirements, *libraries]) + "\n")
    return environments.make(CACHE, name=name, requirements=[listed])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
