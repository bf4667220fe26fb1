"""Existing training code, unchanged but for two environment variables, on the whole stack."""

import json
import os
import subprocess
import sys
import time
import uuid
from typing import Any

import httpx
import pytest

from controlplane.cli import samples
from controlplane.cli.client import Client, Problem
from controlplane.cli.stack import Stack

pytestmark = pytest.mark.stack

TRAINING = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import mlflow
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
rows, labels = load_breast_cancer(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=50).fit(rows / rows.max(), labels)
with mlflow.start_run():
    mlflow.log_metric("accuracy", 0.95)
    mlflow.log_param("max_iter", 50)
    info = mlflow.sklearn.log_model(
        model, name="model", registered_model_name=sys.argv[1], pip_requirements=["scikit-learn"],
        signature=mlflow.models.infer_signature(rows, model.predict(rows)),
    )
print(json.dumps({"at": time.time(), "version": info.registered_model_version}))
"""
LOADING = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow.pyfunc
from sklearn.datasets import load_breast_cancer
rows = load_breast_cancer(as_frame=True).data[:20]
given = rows if sys.argv[2] == "frame" else rows.values
print(json.dumps([float(y) for y in mlflow.pyfunc.load_model(sys.argv[1]).predict(given)]))
"""
DENIED = """
import sys
from mlflow import MlflowClient
MlflowClient().set_registered_model_alias(sys.argv[1], "candidate", 1)
"""


@pytest.fixture(scope="module")
def name() -> str:
    return f"by-mlflow-{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="module")
def logged(stack: Stack, client: Client, name: str) -> dict[str, Any]:
    """Run the training code, and say when its version was here with digest and signature."""
    running = subprocess.Popen(
        [sys.executable, "-c", TRAINING, name],
        env=environment(stack, stack.token("training")),
        stdout=subprocess.PIPE,
        text=True,
    )
    seen, give_up = 0.0, time.time() + 150
    while not seen and time.time() < give_up:
        version = version_or_none(client, name)
        if version and version["digest"] and version["inputs"]:
            seen = time.time()
        time.sleep(0.05)
    said = json.loads(running.communicate(timeout=120)[0].splitlines()[-1])
    return {"seconds": seen - said["at"], "row": version_or_none(client, name)}


def test_the_version_is_here_within_two_seconds_digest_and_signature_read(logged):
    assert logged["row"]["number"] == 1
    print(f"digest and signature {logged['seconds']:+.2f} s after log_model returned")
    assert logged["seconds"] < 2
    assert logged["row"]["digest"].startswith("sha256:")
    assert len(logged["row"]["inputs"]) == 30
    assert logged["row"]["metrics"] == {"accuracy": 0.95}


def test_it_loads_again_as_mlflow_loads_it(stack, name, logged):
    answers = run(stack, LOADING, f"models:/{name}/1", "frame")
    assert len(json.loads(answers)) == 20


def test_a_version_registered_by_rest_loads_the_same_way(stack, client, tmp_path):
    trained = samples.breast_cancer(tmp_path)
    name = f"by-rest-{uuid.uuid4().hex[:6]}"
    client.post("/api/v1/models", {"name": name, "team": "platform"})
    client.post(f"/api/v1/models/{name}/versions", {"upload": client.upload(trained.file)})
    give_up = time.time() + 60
    while client.get(f"/api/v1/models/{name}/versions/1")["mirror"]["state"] != "mirrored":
        assert time.time() < give_up
        time.sleep(0.2)
    assert len(json.loads(run(stack, LOADING, f"models:/{name}/1", "array"))) == 20


def test_mlflow_s_pages_ask_people_to_sign_in(stack):
    page = httpx.get(stack.web + "/mlflow/", headers={"Accept": "text/html"})
    assert page.status_code == 303
    assert page.headers["location"].startswith("/sign-in?next=")


def test_a_program_without_a_token_is_told_in_mlflow_s_words(stack, name, logged):
    done = subprocess.run(
        [sys.executable, "-c", DENIED, name],
        env=environment(stack, "my_wrong"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "UNAUTHENTICATED" in done.stderr


def environment(stack: Stack, token: str) -> dict[str, str]:
    return {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"{stack.web}/mlflow",
        "MLFLOW_TRACKING_TOKEN": token,
        "GIT_PYTHON_REFRESH": "quiet",
    }


def run(stack: Stack, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(stack, stack.token("loading")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def version_or_none(client: Client, name: str) -> dict[str, Any] | None:
    try:
        return client.get(f"/api/v1/models/{name}/versions/1")
    except Problem:
        return None
