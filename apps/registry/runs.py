"""The models that runs in MLflow logged lately, for a person to pick one."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from apps.registry.upstream import ask
from controlplane.kernel.errors import Transient

MOST = 8
SECONDS = 2.0  # a page waits no longer for MLflow
EXPERIMENTS = 50
OURS = "modelyard.version"


@dataclass(frozen=True)
class RunModel:
    """One model that a run logged.

    Attributes:
        run_id: The run.
        path: The name that it was logged under.
        experiment: The experiment's name.
        logged_at: When.
        registered: Whether it is some version's already.
    """

    run_id: str
    path: str
    experiment: str
    logged_at: datetime
    registered: bool


def recent() -> list[RunModel]:
    """Return the models logged last, the newest first; none while MLflow does not answer."""
    if not settings.MLFLOW_URL:
        return []
    try:
        experiments = _experiments()
        found = ask(
            "POST",
            "logged-models/search",
            json={
                "experiment_ids": list(experiments),
                "order_by": [{"field_name": "creation_timestamp", "ascending": False}],
                "max_results": 3 * MOST,
            },
            timeout=SECONDS,
        )
    except Transient:
        return []
    made = (_model(row["info"], experiments) for row in found.get("models", ()))
    return [model for model in made if model is not None][:MOST]


def _experiments() -> dict[str, str]:
    found = ask("POST", "experiments/search", json={"max_results": EXPERIMENTS}, timeout=SECONDS)
    return {str(e["experiment_id"]): str(e["name"]) for e in found.get("experiments", ())}


def _model(info: dict[str, Any], experiments: dict[str, str]) -> RunModel | None:
    """Return the model, unless no run made it or it is one of our own."""
    tags = {str(t["key"]): str(t.get("value", "")) for t in info.get("tags", ())}
    if not info.get("source_run_id") or OURS in tags:
        return None
    logged_at = datetime.fromtimestamp(int(info["creation_timestamp_ms"]) / 1000, tz=UTC)
    return RunModel(
        run_id=str(info["source_run_id"]),
        path=str(info["name"]),
        experiment=experiments.get(str(info["experiment_id"]), ""),
        logged_at=logged_at,
        registered=bool(tags.get("mlflow.modelVersions")),
    )
