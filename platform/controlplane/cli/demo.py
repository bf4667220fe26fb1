"""What `make demo` shows: three real models through the three doors, and a little traffic.

1. `tumour-screening`, scikit-learn, by REST.
2. `wine-origin`, XGBoost, by REST.
3. `digit-reader`, a neural network, by the unmodified MLflow client.

Each is built, optimised and served in dev. Then three people show how one gets to production: Ada
proposes, the house measures, Grace approves, and the wine goes live there; the other two releases
wait for whoever signs in. What rolls out after that is `demo_rollouts`. A second start finds all
of it and only sends the traffic again.
"""

import argparse
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from controlplane.cli import demo_rollouts, journey, oip, releases, samples
from controlplane.cli.client import Client, Problem
from controlplane.cli.main import ensure_model
from controlplane.cli.output import note

PROPOSALS = (
    ("wine-origin", "Our first model in production: small, and nobody is hurt when it errs."),
    ("digit-reader", "Reads the forms that come by post."),
    ("tumour-screening", "Better than what the ward uses today; high risk, so look closely."),
)
PACE = 0.4  # seconds between two requests to one endpoint


@dataclass(frozen=True)
class Demo:
    """One model of the demo.

    Attributes:
        name: Of the registered model.
        train: Makes it.
        about: What the registered model says of itself.
    """

    name: str
    train: Callable[[Path], samples.Trained]
    about: dict[str, str]


BY_REST = (
    Demo(
        "tumour-screening",
        samples.breast_cancer,
        {
            "task": "binary classification",
            "risk_tier": "high",
            "description": "Says how likely a breast mass is benign, from 30 measurements.",
        },
    ),
    Demo(
        "wine-origin",
        samples.wine,
        {
            "task": "classification",
            "risk_tier": "low",
            "description": "Names the cultivar of a wine from its chemical analysis.",
        },
    ),
)
BY_MLFLOW = Demo(
    "digit-reader",
    samples.digits,
    {"task": "image classification", "description": "Reads one handwritten digit of 8 x 8."},
)


def main() -> None:
    """Seed what is missing, then send traffic until stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--url", default=os.environ.get("MODELYARD_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--token", default=os.environ.get("MODELYARD_TOKEN", ""))
    parser.add_argument("--no-traffic", action="store_true")
    parser.add_argument("--people", type=Path, help="who proposes and approves, with tokens")
    parser.add_argument("--mark", type=Path, help="a file to write once all three serve")
    given = parser.parse_args()
    client = Client(given.url, given.token, patience=90)
    people = json.loads(given.people.read_text()) if given.people else None
    with tempfile.TemporaryDirectory(prefix="modelyard-demo-") as folder:
        served = list(_seed(client, Path(folder)))
        note("Three models are registered, built, optimised and serving.")
        if people:
            _release(given.url, people)
        if given.mark:
            given.mark.touch()
        if given.no_traffic:
            return
        threads = _traffic(served)
        if people:
            demo_rollouts.play(_cast(client, given.url, people), Path(folder))
    for thread in threads:
        thread.join()


def _seed(client: Client, folder: Path) -> Any:
    for demo in BY_REST:
        trained = demo.train(folder)
        if not _versions(client, demo.name):
            journey.register(client, demo.name, trained, team="platform", **demo.about)
            note(f"{demo.name} is registered, by REST.")
        yield _serve(client, demo.name), trained
    trained = BY_MLFLOW.train(folder)
    if not _versions(client, BY_MLFLOW.name):
        ensure_model(client, BY_MLFLOW.name, "platform", **BY_MLFLOW.about)
        _log_with_mlflow(client, BY_MLFLOW.name, trained)
        note(f"{BY_MLFLOW.name} is registered, by the MLflow client.")
    yield _serve(client, BY_MLFLOW.name), trained


def _release(url: str, people: dict[str, dict[str, str]]) -> None:
    """Take the wine to production, and leave the other two where a lead has to look."""
    ada, grace = (Client(url, people[name]["token"], patience=90) for name in ("ada", "grace"))
    if list(ada.pages("/api/v1/releases")):
        return
    for name, summary in PROPOSALS:
        body = {"model": name, "version": 1, "environment": "production", "summary": summary}
        made = ada.post("/api/v1/releases", body)
        note(f"Ada proposed R-{made['number']}: {name} to production.")
    wine = releases.follow(grace, 1, "awaiting_approval", seconds=180)
    if wine["state"] == "awaiting_approval":
        said = {"digest": wine["digest"], "reason": "Every required gate passed; low risk."}
        grace.post("/api/v1/releases/1/approve", said)
        wine = releases.follow(grace, 1, "live", seconds=180)
    note(f"R-1 is {wine['state'].replace('_', ' ')}; the others wait for you.")


def _cast(house: Client, url: str, people: dict[str, dict[str, str]]) -> demo_rollouts.Cast:
    ada, grace = (Client(url, people[name]["token"], patience=90) for name in ("ada", "grace"))
    return demo_rollouts.Cast(house, ada, grace)


def _versions(client: Client, name: str) -> list[dict[str, Any]]:
    try:
        return list(client.get(f"/api/v1/models/{name}/versions")["results"])
    except Problem:
        return []


def _serve(client: Client, name: str) -> dict[str, Any]:
    """Build and serve version 1 unless it already is served; return version and endpoint."""
    client.wait(  # a version that came through MLflow has its files read first
        f"/api/v1/models/{name}/versions/1", lambda v: bool(v["digest"]), seconds=60
    )
    live = client.get("/api/v1/endpoints", model=name, environment="dev")["results"]
    if not live or not live[0]["serves"]:
        build = _finished(client, name) or journey.build(client, name, 1)
        made = [v["kind"] for v in build["variants"] if v["state"] == "built"]
        note(f"{name} is built: {', '.join(made)}.")
        endpoint = journey.serve(client, name, 1)["endpoint"]
        note(f"{name} is live at {endpoint['address']}.")
    else:
        endpoint = client.get(f"/api/v1/endpoints/{live[0]['id']}")
    return {"endpoint": endpoint, "version": client.get(f"/api/v1/models/{name}/versions/1")}


def _finished(client: Client, name: str) -> dict[str, Any] | None:
    builds = client.get("/api/v1/builds", model=name, version=1)["results"]
    done = [b for b in builds if b["state"] == "succeeded"]
    return client.get(f"/api/v1/builds/{done[0]['id']}") if done else None


def _log_with_mlflow(client: Client, name: str, trained: samples.Trained) -> None:
    """Register as existing training code does: nothing of ours but the address and the token."""
    os.environ["MLFLOW_TRACKING_URI"] = f"{client.url.rstrip('/')}/mlflow"
    os.environ["MLFLOW_TRACKING_TOKEN"] = client.token
    # Heavy, and only the demo needs them.
    import joblib  # noqa: PLC0415
    import mlflow  # noqa: PLC0415
    from mlflow.models import infer_signature  # noqa: PLC0415

    _patiently(lambda: mlflow.set_experiment("demo"))
    with mlflow.start_run(run_name=name):
        mlflow.log_params(trained.params)
        mlflow.log_metrics(trained.metrics)
        mlflow.sklearn.log_model(
            joblib.load(trained.file),
            name="model",
            signature=infer_signature(trained.inputs, trained.expected),
            registered_model_name=name,
            pyfunc_predict_fn="predict_proba",
            serialization_format="pickle",  # its default does not know this optimiser
        )


def _patiently(ask: Callable[[], Any], *, seconds: float = 120) -> None:
    """Ask until MLflow, whose first start takes a while, answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            ask()
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(1)
        else:
            return


def _traffic(served: list[tuple[dict[str, Any], samples.Trained]]) -> list[threading.Thread]:
    """Send each endpoint a few requests a second, so that its page has something to show."""
    threads = [threading.Thread(target=_keep_asking, args=one, daemon=True) for one in served]
    for thread in threads:
        thread.start()
    return threads


def _keep_asking(served: dict[str, Any], trained: samples.Trained) -> None:
    address, inputs = served["endpoint"]["address"], served["version"]["inputs"]
    with httpx.Client(timeout=10) as http:
        for k in itertools.count():
            row = k % len(trained.inputs)
            try:
                oip.predict(http, address, inputs, trained.inputs[row : row + 1])
            except httpx.HTTPError as error:
                note(f"{address}: {error}")
                time.sleep(5)
            time.sleep(PACE)


if __name__ == "__main__":
    main()
