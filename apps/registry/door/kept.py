"""Which files in MLflow belong to a registered version, so that nobody may change them."""

import re

from apps.registry.models import ModelVersion
from apps.registry.upstream import ask
from controlplane.kernel.errors import Denied

LOGGED_MODEL = re.compile(r"(?:^|/)models/(?P<id>m-[0-9a-zA-Z]+)(?:/|$)")
RUN = re.compile(r"(?:^|/)(?P<id>[0-9a-f]{32})/artifacts/(?P<path>.+)$")
ONE_FILE = re.compile(r".+/artifacts/.+")
OF_VERSIONS = ("mlflow.modelVersions", "modelyard.version")


def refuse_changing(path: str) -> None:
    """Refuse to write or delete the artifact at `path` when a version is made of it.

    Args:
        path: Below the artifact root, decoded.

    Raises:
        Denied: A version's digest says what the file holds, or `path` is a folder of many runs.
        Transient: MLflow does not answer.
    """
    plain = path.strip("/")
    if (match := LOGGED_MODEL.search(plain)) and _logged_model_is_kept(match["id"]):
        raise _immutable(plain)
    if (match := RUN.search(plain)) and _run_file_is_kept(match["id"], match["path"]):
        raise _immutable(plain)
    if not ONE_FILE.fullmatch(plain):
        raise Denied(
            f"{plain[:200]} is not an artifact of one run or model.",
            remedy="Name a file below .../artifacts/.",
            code="mlflow.not_an_artifact",
        )


def refuse_deleting(path: str) -> None:
    """Refuse to delete the logged model at `path` ("/api/2.0/mlflow/logged-models/m-1").

    Raises:
        Denied: A version is made of it.
        Transient: MLflow does not answer.
    """
    model_id = path.rstrip("/").rpartition("/")[2]
    if _logged_model_is_kept(model_id):
        raise Denied(
            f"The logged model {model_id[:60]} is what a registered version is made of, "
            "and versions are kept for good.",
            remedy="Archive the version in Modelyard instead.",
            code="mlflow.immutable",
        )


def _logged_model_is_kept(model_id: str) -> bool:
    # A client could take the tags away; our own rows it cannot.
    if ModelVersion.objects.filter(source=f"models:/{model_id}").exists():
        return True
    found = ask("GET", f"logged-models/{model_id}").get("model", {}).get("info", {})
    return any(tag.get("key") in OF_VERSIONS and tag.get("value") for tag in found.get("tags", ()))


def _run_file_is_kept(run_id: str, path: str) -> bool:
    start = f"runs:/{run_id}/"
    rows = ModelVersion.objects.filter(run_id=run_id, source__startswith=start)
    folders = (source.removeprefix(start) for source in rows.values_list("source", flat=True))
    return any(f"{path}/".startswith(f"{f}/") or f"{f}/".startswith(f"{path}/") for f in folders)


def _immutable(path: str) -> Denied:
    return Denied(
        f"{path[:200]} belongs to a registered version, whose files no longer change.",
        remedy="Log a new model and register it as the next version.",
        code="mlflow.immutable",
    )
