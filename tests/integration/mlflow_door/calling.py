"""Who calls at the door: MLflow's unmodified client, and requests as it sends them."""

import http.client
import os
import pickle
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from apps.registry import blobs, inspection, services
from apps.registry.domain.details import Details
from apps.registry.models import ModelVersion, RegisteredModel
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.actor import Role
from tests import factories

LOG_MODEL = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import mlflow, numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
name = sys.argv[1]
X, y = load_breast_cancer(return_X_y=True)
model = LogisticRegression(max_iter=50).fit(X / X.max(0), y)
with mlflow.start_run() as run:
    mlflow.log_metric("auc", 0.97)
    mlflow.log_param("C", 1.0)
    mlflow.set_tag("owner", "ada")
    mlflow.log_input(mlflow.data.from_numpy(X, name="cancer"))
    info = mlflow.sklearn.log_model(
        model, name="model", registered_model_name=name, pip_requirements=["scikit-learn"],
        signature=mlflow.models.infer_signature(X, model.predict(X)),
    )
registered_at = time.time()
print(json.dumps({"at": registered_at, "version": info.registered_model_version,
                  "run": run.info.run_id}), flush=True)
"""
LOAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow.pyfunc
from sklearn.datasets import load_breast_cancer
X = load_breast_cancer().data[:30]
print(json.dumps([float(y) for y in mlflow.pyfunc.load_model(sys.argv[1]).predict(X / 1.0)]))
"""
CLIENT = """
import sys, warnings
warnings.simplefilter("ignore")
from mlflow import MlflowClient
client = MlflowClient()
"""


def unique(name: str) -> str:
    return f"{name}-{time.monotonic_ns()}"


def client(code: str, url: str, secret: str, *arguments: str, ok: bool = True) -> str:
    """Run `code` with the unmodified client, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": url,
            "MLFLOW_TRACKING_TOKEN": secret,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "GIT_PYTHON_REFRESH": "quiet",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is ok, done.stderr[-3000:]
    return done.stdout if ok else done.stderr


def call(door: str, secret: str, method: str, path: str, **rest: Any) -> httpx.Response:
    return httpx.request(
        method,
        f"{door}/api/2.0/mlflow/{path}",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=30,
        **rest,
    )


def raw(door: str, secret: str, path: str, *, method: str = "GET") -> httpx.Response:
    """Send `path` exactly as it is: httpx would tidy it."""
    parts = urlsplit(door)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    with closing(connection):
        headers = {"Authorization": f"Bearer {secret}"}
        connection.request(method, f"{parts.path}/{path}", headers=headers)
        answer = connection.getresponse()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


def logged_model(door: str, secret: str) -> str:
    """Return the id of a logged model with one file."""
    made = call(door, secret, "POST", "logged-models", json={"experiment_id": "0", "name": "x"})
    info = made.json()["model"]["info"]
    path = urlsplit(info["artifact_uri"]).path.strip("/")
    sent = httpx.put(
        f"{door}/api/2.0/mlflow-artifacts/artifacts/{path}/MLmodel",
        content=b"flavors: {python_function: {loader_module: x}}\n# " + info["model_id"].encode(),
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert sent.status_code == 200
    return str(info["model_id"])


def create_version(door: str, secret: str, name: str, place: str) -> httpx.Response:
    call(door, secret, "POST", "registered-models/create", json={"name": name})
    body = {"name": name, "source": f"models:/{place}", "model_id": place}
    return call(door, secret, "POST", "model-versions/create", json=body)


def persistently(door: str, secret: str, name: str, place: str) -> httpx.Response:
    """Create a version, asking again while told to, as MLflow's client does."""
    for _ in range(8):
        answer = create_version(door, secret, name, place)
        if answer.status_code != 503:
            break
    return answer


def aliases(store: MlflowStore, name: str) -> dict[str, int]:
    found = store.model(name)
    return dict(found.aliases) if found else {}


def made_here(tmp_path: Path, name: str) -> RegisteredModel:
    """Return a model with one version that came in by REST."""
    model = services.create_model(
        actor=factories.actor_with(Role.ADMIN), name=name, team=factories.team(slug="fraud").slug
    )
    register(tmp_path, name, seed=1)
    return model


def register(tmp_path: Path, name: str, *, seed: int) -> ModelVersion:
    folder = tmp_path / f"files-{seed}"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(trained(seed=seed))
    return services.register_files(
        actor=factories.actor_with(Role.ADMIN),
        model=name,
        files=blobs.put_folder(folder),
        inspected=inspection.inspect_folder(folder),
        details=Details(),
    ).version


def trained(*, seed: int) -> bytes:
    rows, labels = load_breast_cancer(return_X_y=True)
    return pickle.dumps(LogisticRegression(max_iter=50, C=seed).fit(rows / rows.max(0), labels))
