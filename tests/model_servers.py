"""Bundles made on the spot, and real model servers started as a revision's are."""

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import onnx
import sklearn
from numpy.typing import NDArray
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from controlplane.drivers.local import launch
from controlplane.drivers.mlflow.mlmodel import MLFLOW_VERSION, as_mlflow_folder
from controlplane.drivers.oci.layout import OciLayout

NAME = "cancer"
REVISION = 3
X = {"name": "X", "datatype": "FP32", "shape": [-1, 30]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [-1]}


@dataclass(frozen=True)
class Bundle:
    """A materialised bundle."""

    folder: Path
    digest: str

    def copied_to(self, folder: Path) -> "Bundle":
        """Return a copy, to spoil or to serve beside the original."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)


@dataclass
class Server:
    """A running model server."""

    plan: launch.LaunchPlan
    process: subprocess.Popen[bytes]
    log: Path

    def url(self, path: str = "") -> str:
        return f"http://{self.plan.address}{path}"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url(path), timeout=10)

    def infer(self, document: Any, *, name: str = NAME) -> httpx.Response:
        return self.post(json.dumps(document).encode(), name=name)

    def post(
        self, body: bytes, *, name: str = NAME, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        url = self.url(f"/v2/models/{name}/infer")
        return httpx.post(url, content=body, headers=headers, timeout=30)

    def problem(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.plan.problem.read_bytes())
        return found


@cache
def features() -> NDArray[np.float32]:
    """Return 569 rows of the breast-cancer data."""
    return load_breast_cancer().data.astype(np.float32)


@cache
def estimator() -> Any:
    """Return a classifier of them: what every server's answers are compared with."""
    made = make_pipeline(StandardScaler(), LogisticRegression())
    return made.fit(features().astype(np.float64), load_breast_cancer().target)


def onnx_bundle(root: Path) -> Bundle:
    """Make the classifier's ONNX bundle below `root`."""
    converted = to_onnx(estimator(), features()[:1], options={"zipmap": False})
    return onnx_bundle_of(root, converted.SerializeToString())


def onnx_bundle_of(root: Path, content: bytes) -> Bundle:
    """Make a bundle of a file that is, or pretends to be, ONNX."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "made.onnx").write_bytes(content)
    return _bundle(root, {"model.onnx": root / "made.onnx"}, {"format": "onnx"}, "model.onnx")


def typed_onnx() -> bytes:
    """Return a model of three inputs (text, yes or no, whole numbers) that gives them back."""
    kinds = {"text": TensorProto.STRING, "flag": TensorProto.BOOL, "count": TensorProto.INT64}
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
        "typed",
        [tensor(name, kind, [None, 1]) for name, kind in kinds.items()],
        [tensor(f"{name}_out", kind, [None, 1]) for name, kind in kinds.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def mlflow_bundle(root: Path) -> Bundle:
    """Make the classifier's native bundle below `root`."""
    files = root / "files"
    files.mkdir(parents=True)
    joblib.dump(estimator(), files / "model.joblib")
    return mlflow_bundle_of(root)


def mlflow_bundle_of(root: Path, *, requirements: tuple[str, ...] = ()) -> Bundle:
    """Make a bundle of what lies in `root`/files, whatever it is worth."""
    as_mlflow_folder(
        files=root / "files",
        format="sklearn",
        inputs=[X],
        outputs=[LABEL],
        requirements=[
            f"scikit-learn=={sklearn.__version__}",
            f"mlflow-skinny=={MLFLOW_VERSION}",
            *requirements,
        ],
        target=root / "mlflow",
    )
    found = [path for path in (root / "mlflow").rglob("*") if path.is_file()]
    files = {f"model/{path.relative_to(root / 'mlflow')}": path for path in found}
    config = {"format": "mlflow", "inputs": [X], "outputs": [LABEL]}
    return _bundle(root, files, config | {"requirements": "model/requirements.txt"}, "model")


def _bundle(root: Path, files: dict[str, Path], config: dict[str, Any], entry: str) -> Bundle:
    nothing = {"inputs": [], "outputs": [], "requirements": None, "golden": None}
    layout = OciLayout(root / "bundles")
    digest = layout.write(files, {"schema": 1, "entry": entry} | nothing | config)
    layout.materialise(digest, root / "servers" / "1")
    return Bundle(root / "servers" / "1", digest)


def planned(
    runtime: str, bundle: Bundle, home: Path, configuration: dict[str, object] | None = None
) -> launch.LaunchPlan:
    """Return how a replica is started on a free port."""
    home.mkdir(parents=True, exist_ok=True)
    return launch.plan(
        runtime,
        bundle=bundle.folder,
        name=NAME,
        revision=REVISION,
        digest=bundle.digest,
        port=_free_port(),
        home=home,
        configuration=configuration,
    )


def prepare(plan: launch.LaunchPlan) -> subprocess.CompletedProcess[bytes]:
    """Run what must be run before the first start."""
    assert plan.prepare is not None
    return subprocess.run(
        plan.prepare, env=plan.environment, cwd=plan.cwd, capture_output=True, check=False
    )


def start(plan: launch.LaunchPlan) -> Server:
    """Start a server and leave it to itself."""
    log = plan.problem.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            plan.argv, env=plan.environment, cwd=plan.cwd, stdout=output, stderr=output
        )
    return Server(plan, process, log)


@contextmanager
def serving(plan: launch.LaunchPlan) -> Iterator[Server]:
    """Start a server, wait until it is ready, and end it afterwards."""
    server = start(plan)
    try:
        wait_until_ready(server)
        yield server
    finally:
        stop(server)


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + 2 * server.plan.start_seconds
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if server.get(server.plan.ready_path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the server is not ready:\n{server.log.read_text()[-4000:]}")


def stop(server: Server) -> int:
    """End a server as the supervisor does, and return its exit status."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(server.plan.stop_seconds)
    except subprocess.TimeoutExpired:
        server.process.kill()
        return server.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
