"""The model store on MLflow's REST API, by plain httpx.

MLflow's own client would cost every process 170 MB and two seconds; the calls here are few.
The address includes the server's static prefix ("http://127.0.0.1:5001/mlflow"). Files travel by
the artifact routes outside that prefix, which stream; those inside buffer whole files in memory.
"""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from apps.registry.ports import Package, StoredFile, StoredModel, StoredRun, StoredVersion
from controlplane.drivers.mlflow.mlmodel import as_mlflow_folder
from controlplane.kernel.errors import Permanent, Transient

EXPERIMENT = "Modelyard"  # holds the files of versions that came in by another door
KEY_TAG = "modelyard.version"
PROMPT_TAG = "mlflow.prompt.is_prompt"
NEWEST = 100  # versions in one answer: most looks need only the first few
EVERY = 1_000  # models in one answer: all are read; a tenth of it takes twice as long
CHUNK = 1024 * 1024
DEEPEST = 32  # folders


class MlflowStore:
    """Implements `apps.registry.ports.ModelStore`."""

    def __init__(self, url: str, *, seconds: float = 10.0) -> None:
        """Remember where the server is.

        Args:
            url: Its address with the static prefix, if it has one.
            seconds: How long to wait for an answer.
        """
        parts = urlsplit(url)
        self._api = url.rstrip("/") + "/api/2.0"
        self._artifacts = f"{parts.scheme}://{parts.netloc}/api/2.0/mlflow-artifacts/artifacts"
        self._seconds = seconds
        self._client = httpx.Client(timeout=httpx.Timeout(seconds, connect=3.0))
        self._experiment = ""

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def model(self, name: str) -> StoredModel | None:
        """Implement `ModelStore.model`."""
        found = self._ask("GET", "registered-models/get", params={"name": name})
        return _model(found["registered_model"]) if found else None

    def ensure_model(self, name: str, *, description: str = "") -> None:
        """Implement `ModelStore.ensure_model`."""
        self._ask(
            "POST",
            "registered-models/create",
            json={"name": name, "description": description},
            unless="RESOURCE_ALREADY_EXISTS",
        )

    def version(self, name: str, number: int) -> StoredVersion | None:
        """Implement `ModelStore.version`."""
        found = self._ask(
            "GET", "model-versions/get", params={"name": name, "version": str(number)}
        )
        return _version(found["model_version"]) if found else None

    def highest_number(self, name: str) -> int:
        """Implement `ModelStore.highest_number`."""
        found = self._ask(
            "GET",
            "model-versions/search",
            params={
                "filter": f"name = '{name}'",
                "order_by": "version_number DESC",
                "max_results": "1",
            },
        )
        return max((int(v["version"]) for v in (found or {}).get("model_versions", ())), default=0)

    def reserve(self, key: str, *, name: str, number: int) -> str:
        """Implement `ModelStore.reserve`: the files become a logged model of our experiment."""
        experiment = self._experiment_id()
        found = self._ask(
            "POST",
            "logged-models/search",
            json={
                "experiment_ids": [experiment],
                "filter": f"tags.`{KEY_TAG}` = '{key}'",
                "max_results": 1,
            },
        )
        for model in (found or {}).get("models", ()):
            return str(model["info"]["model_id"])
        made = self._ask(
            "POST",
            "logged-models",
            json={
                "experiment_id": experiment,
                "name": f"{name}-v{number}",
                "tags": [{"key": KEY_TAG, "value": key}],
            },
        )
        return str(_sure(made)["model"]["info"]["model_id"])

    def package(self, package: Package, target: Path) -> None:
        """Implement `ModelStore.package`."""
        as_mlflow_folder(
            files=package.files,
            format=package.format,
            inputs=package.inputs,
            outputs=package.outputs,
            requirements=package.requirements,
            target=target,
        )

    def upload(self, folder: Path, place: str, *, deadline: float) -> bool:
        """Implement `ModelStore.upload`."""
        location = self._logged_model_location(place)
        there = {f.path: f.size for f in self.files(location)}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            relative = path.relative_to(folder).as_posix()
            if there.get(relative) == path.stat().st_size:
                continue
            if time.monotonic() > deadline:
                return False
            self._put(path, _file_url(self._artifacts, location, relative))
        self._ask(
            "PATCH",
            f"logged-models/{place}",
            json={"model_id": place, "status": "LOGGED_MODEL_READY"},
        )
        return True

    def create_version(
        self,
        name: str,
        *,
        place: str,
        description: str = "",
        tags: Mapping[str, str],
    ) -> int:
        """Implement `ModelStore.create_version`."""
        made = self._ask(
            "POST",
            "model-versions/create",
            json={
                "name": name,
                "source": f"models:/{place}",
                "model_id": place,
                "description": description,
                "tags": [{"key": k, "value": v} for k, v in tags.items()],
            },
        )
        return int(_sure(made)["model_version"]["version"])

    def withdraw(self, name: str, number: int) -> None:
        """Implement `ModelStore.withdraw`."""
        self._ask("DELETE", "model-versions/delete", json={"name": name, "version": str(number)})

    def describe(
        self, name: str, number: int, *, description: str, tags: Mapping[str, str]
    ) -> None:
        """Implement `ModelStore.describe`: only what differs is sent."""
        now = self.version(name, number)
        if now is None:
            return
        which = {"name": name, "version": str(number)}
        if now.description != description:
            self._ask("PATCH", "model-versions/update", json={**which, "description": description})
        for key, value in tags.items():
            if now.tags.get(key) != value:
                self._ask(
                    "POST", "model-versions/set-tag", json={**which, "key": key, "value": value}
                )

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Implement `ModelStore.set_alias`."""
        self._ask(
            "POST",
            "registered-models/alias",
            json={"name": name, "alias": alias, "version": str(number)},
        )

    def remove_alias(self, name: str, alias: str) -> None:
        """Implement `ModelStore.remove_alias`."""
        self._ask("DELETE", "registered-models/alias", json={"name": name, "alias": alias})

    def locate(self, version: StoredVersion) -> str:
        """Implement `ModelStore.locate`."""
        found = self._ask(
            "GET",
            "model-versions/get-download-uri",
            params={"name": version.model, "version": str(version.number)},
        )
        return _inside_artifacts(str((found or {}).get("artifact_uri", "")))

    def locate_run_model(self, run_id: str, path: str) -> str:
        """Implement `ModelStore.locate_run_model`.

        Up to MLflow 2 a model lies among its run's artifacts; since MLflow 3 it is a logged
        model of its own, which the run names among its outputs.
        """
        found = self._ask("GET", "runs/get", params={"run_id": run_id})
        if found is None:
            raise _no_such_run(f"MLflow has no run {run_id}.")
        run = found["run"]
        for output in run.get("outputs", {}).get("model_outputs", ()):
            logged = self._ask("GET", f"logged-models/{output['model_id']}")
            info = (logged or {}).get("model", {}).get("info", {})
            if info.get("name") == path or info.get("model_id") == path:
                return _inside_artifacts(str(info["artifact_uri"]))
        location = _inside_artifacts(str(run["info"].get("artifact_uri", ""))) + "/" + path
        if not self.files(location):
            raise _no_such_run(f"The run {run_id} logged no model {path!r}.")
        return location

    def files(self, location: str) -> list[StoredFile]:
        """Implement `ModelStore.files`."""
        return sorted(self._walk(location, "", DEEPEST), key=lambda f: f.path)

    def fetch(self, location: str, path: str, *, offset: int = 0) -> Iterator[bytes]:
        """Implement `ModelStore.fetch`."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        headers["Accept-Encoding"] = "identity"
        url = _file_url(self._artifacts, location, path)
        try:
            with self._client.stream("GET", url, headers=headers) as answer:
                if answer.status_code not in (200, 206):
                    answer.read()
                    raise _refusal(answer)
                skip = offset if answer.status_code == 200 else 0
                for chunk in answer.iter_bytes(CHUNK):
                    yield chunk[skip:]
                    skip = max(0, skip - len(chunk))
        except httpx.TransportError as error:
            raise _silent(error) from error

    def run(self, run_id: str) -> StoredRun | None:
        """Implement `ModelStore.run`."""
        found = self._ask("GET", "runs/get", params={"run_id": run_id})
        return _run(found["run"]) if found else None

    def versions_changed_since(self, at_ms: int) -> Iterator[StoredVersion]:
        """Implement `ModelStore.versions_changed_since`."""
        for row in self._changed("model-versions/search", "model_versions", NEWEST):
            version = _version(row)
            if version.changed_at_ms <= at_ms:
                return
            yield version

    def models_changed_since(self, at_ms: int) -> Iterator[StoredModel]:
        """Implement `ModelStore.models_changed_since`."""
        for row in self._changed("registered-models/search", "registered_models", EVERY):
            model = _model(row)
            if model.changed_at_ms <= at_ms:
                return
            yield model

    def _changed(self, path: str, key: str, page: int) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            found = _sure(
                self._ask(
                    "GET",
                    path,
                    params={
                        "order_by": "last_updated_timestamp DESC",
                        "max_results": str(page),
                        **({"page_token": token} if token else {}),
                    },
                )
            )
            yield from found.get(key, ())
            token = str(found.get("next_page_token") or "")
            if not token:
                return

    def _experiment_id(self) -> str:
        if not self._experiment:
            found = self._experiment_by_name()
            if found is None:
                self._ask(
                    "POST",
                    "experiments/create",
                    json={"name": EXPERIMENT},
                    unless="RESOURCE_ALREADY_EXISTS",
                )
                found = self._experiment_by_name()
            self._experiment = str(_sure(found)["experiment"]["experiment_id"])
        return self._experiment

    def _experiment_by_name(self) -> dict[str, Any] | None:
        return self._ask("GET", "experiments/get-by-name", params={"experiment_name": EXPERIMENT})

    def _logged_model_location(self, model_id: str) -> str:
        found = _sure(self._ask("GET", f"logged-models/{model_id}"))
        return _inside_artifacts(str(found["model"]["info"]["artifact_uri"]))

    def _walk(self, location: str, below: str, deeper: int) -> Iterator[StoredFile]:
        if deeper == 0:
            raise Permanent(
                f"The files at {location} lie more than {DEEPEST} folders deep.",
                remedy="Log the model with a flatter layout.",
                code="archive.too_deep",
            )
        folder = f"{location}/{below}".rstrip("/")
        found = self._ask("GET", "../mlflow-artifacts/artifacts", params={"path": folder})
        for entry in (found or {}).get("files", ()):
            path = f"{below}/{entry['path']}".lstrip("/")
            if entry.get("is_dir"):
                yield from self._walk(location, path, deeper - 1)
            else:
                yield StoredFile(path, int(entry.get("file_size") or 0))

    def _put(self, path: Path, url: str) -> None:
        with path.open("rb") as stream:
            try:
                answer = self._client.put(
                    url,
                    content=iter(lambda: stream.read(CHUNK), b""),
                    headers={"Content-Length": str(path.stat().st_size)},
                    timeout=httpx.Timeout(self._seconds, read=300.0, write=300.0),
                )
            except httpx.TransportError as error:
                raise _silent(error) from error
        if not answer.is_success:
            raise _refusal(answer)

    def _ask(
        self, method: str, path: str, *, unless: str = "", **rest: Any
    ) -> dict[str, Any] | None:
        """Return MLflow's answer, or None for the error code `unless`.

        Reading or deleting what is not there gives None too.
        """
        url = f"{self._api}/mlflow/{path}".replace("/mlflow/../", "/")
        try:
            answer = self._client.request(method, url, **rest)
        except httpx.TransportError as error:
            raise _silent(error) from error
        if answer.is_success:
            value: dict[str, Any] = answer.json()
            return value
        refusal = _refusal(answer)
        absent = "RESOURCE_DOES_NOT_EXIST" if method in ("GET", "DELETE") else unless
        if isinstance(refusal, Permanent) and _error_code(answer) in {absent, unless} - {""}:
            return None
        raise refusal


def _sure(value: dict[str, Any] | None) -> dict[str, Any]:
    if value is None:
        raise Transient("MLflow no longer has what it had a moment ago.", code="mlflow.changed")
    return value


def _silent(error: httpx.TransportError) -> Transient:
    return Transient(
        f"MLflow does not answer ({type(error).__name__}).",
        remedy="It is asked again by itself; see the log of the part mlflow if this lasts.",
        code="mlflow.down",
    )


def _no_such_run(sentence: str) -> Permanent:
    return Permanent(
        sentence,
        remedy="Check the run id and the name that the model was logged under.",
        code="mlflow.no_such_run",
    )


def _error_code(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("error_code", ""))
    except (ValueError, AttributeError):
        return ""


def _refusal(answer: httpx.Response) -> Permanent | Transient:
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        return Transient(
            f"MLflow answered {answer.status_code}.",
            remedy="It is asked again by itself; see the log of the part mlflow if this lasts.",
            code="mlflow.down",
        )
    try:
        said = str(answer.json().get("message", ""))
    except (ValueError, AttributeError):
        said = answer.text
    return Permanent(
        f"MLflow refused: {said[:300] or answer.status_code}",
        remedy="Mend what MLflow names, then retry the mirror.",
        code="mlflow.refused",
    )


def _inside_artifacts(uri: str) -> str:
    """Return the path of a "mlflow-artifacts:/..." address below the artifact root."""
    parts = urlsplit(uri)
    path = parts.path.strip("/")
    if parts.scheme != "mlflow-artifacts" or not path or ".." in path.split("/"):
        raise Permanent(
            f"The files lie at {uri or 'an unknown place'}, which MLflow does not serve.",
            remedy="Run the MLflow server with --serve-artifacts and log the model again.",
            code="mlflow.unreachable_files",
        )
    return path


def _file_url(root: str, location: str, path: str) -> str:
    return f"{root}/{quote(location)}/{quote(path)}"


def _pairs(rows: Any) -> dict[str, str]:
    return {str(r["key"]): str(r.get("value", "")) for r in rows or ()}


def _model(row: dict[str, Any]) -> StoredModel:
    tags = _pairs(row.get("tags"))
    return StoredModel(
        name=str(row["name"]),
        description=str(row.get("description") or ""),
        aliases={str(a["alias"]): int(a["version"]) for a in row.get("aliases", ())},
        tags=tags,
        changed_at_ms=int(row.get("last_updated_timestamp") or 0),
        is_prompt=tags.get(PROMPT_TAG, "").lower() == "true",
    )


def _version(row: dict[str, Any]) -> StoredVersion:
    tags = _pairs(row.get("tags"))
    return StoredVersion(
        model=str(row["name"]),
        number=int(row["version"]),
        source=str(row.get("source") or ""),
        run_id=str(row.get("run_id") or ""),
        description=str(row.get("description") or ""),
        tags=tags,
        changed_at_ms=int(row.get("last_updated_timestamp") or 0),
        is_prompt=tags.get(PROMPT_TAG, "").lower() == "true",
    )


def _run(row: dict[str, Any]) -> StoredRun:
    data, info = row.get("data", {}), row["info"]
    inputs = row.get("inputs", {}).get("dataset_inputs", ())
    dataset = inputs[0].get("dataset", {}) if inputs else {}
    ended = info.get("end_time") or info.get("start_time")
    return StoredRun(
        run_id=str(info["run_id"]),
        metrics={str(m["key"]): float(m["value"]) for m in data.get("metrics", ())},
        params=_pairs(data.get("params")),
        tags=_pairs(data.get("tags")),
        dataset=str(dataset.get("name", "")),
        dataset_digest=str(dataset.get("digest", "")),
        ended_at=datetime.fromtimestamp(int(ended) / 1000, tz=UTC) if ended else None,
    )
