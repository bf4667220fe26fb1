"""What the door refuses: verbs that it keeps shut, what is another's, what leads out."""

from pathlib import Path

import pytest

from apps.registry.models import Alias, ModelVersion, RegisteredModel
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.actor import Role
from tests import factories
from tests.integration.door import until, worker
from tests.integration.mlflow_door.calling import (
    CLIENT,
    call,
    client,
    create_version,
    logged_model,
    made_here,
    raw,
    unique,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("DELETE", "model-versions/delete", {"name": "m", "version": "1"}, "archive"),
        ("DELETE", "registered-models/delete", {"name": "m"}, "archive"),
        ("POST", "registered-models/rename", {"name": "m", "new_name": "n"}, "archive"),
        ("POST", "model-versions/transition-stage", {"name": "m"}, "alias"),
        ("POST", "webhooks", {}, "not open"),
    ],
)
def test_what_the_door_keeps_shut_says_what_to_do_instead(
    door: str, secret: str, method: str, path: str, body: dict[str, str], words: str
) -> None:
    answer = call(door, secret, method, path, json=body)
    assert answer.status_code == 403
    assert answer.json()["error_code"] == "PERMISSION_DENIED"
    assert words in answer.json()["message"]


def test_a_viewer_is_denied_in_mlflow_s_form_and_the_client_shows_the_sentence(
    door: str, store: MlflowStore, tmp_path: Path
) -> None:
    model = made_here(tmp_path, unique("denied"))
    with worker(store, tmp_path):
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored", seconds=20)
    viewer = factories.token(role=Role.VIEWER)[1]
    code = CLIENT + f"client.set_registered_model_alias({model.name!r}, 'champion', 1)"
    said = client(code, door, viewer, ok=False)
    assert "PERMISSION_DENIED" in said
    assert "Ask an admin for one of these roles" in said
    answer = call(door, viewer, "POST", "runs/create", json={"experiment_id": "0"})
    assert answer.status_code == 403
    assert not Alias.objects.exists()


def test_another_team_s_model_can_be_neither_seen_nor_registered_in(
    door: str, store: MlflowStore, tmp_path: Path
) -> None:
    model = made_here(tmp_path, unique("theirs"))
    with worker(store, tmp_path):
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored", seconds=20)
    stranger = factories.person()
    factories.grant(person=stranger, role=Role.CONTRIBUTOR, team=factories.team(slug="other"))
    secret = factories.token(owner=stranger)[1]
    listed = call(door, secret, "GET", "registered-models/search?max_results=1000").json()
    assert model.name not in [m["name"] for m in listed.get("registered_models", [])]
    found = call(door, secret, "GET", f"model-versions/get?name={model.name}&version=1")
    assert (found.status_code, found.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    answer = create_version(door, secret, model.name, logged_model(door, secret))
    assert answer.status_code in (403, 404)
    assert ModelVersion.objects.count() == 1


def test_names_that_are_not_allowed_are_refused_in_mlflow_s_form(door: str, secret: str) -> None:
    for name in ("../etc", "new", "a b"):
        answer = call(door, secret, "POST", "registered-models/create", json={"name": name})
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert not RegisteredModel.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "api/2.0/mlflow-artifacts/artifacts/..%2f..%2fetc%2fpasswd",
        "api/2.0/mlflow-artifacts/artifacts/%252e%252e%252fmlflow.db",
        "api/2.0/mlflow-artifacts/artifacts/%2fetc/passwd",
        "api/2.0/mlflow-artifacts/artifacts?path=../",
        "api/2.0/mlflow-artifacts/artifacts?path=%2fetc",
        "api/2.0/mlflow/artifacts/list?run_id=x&path=%252e%252e",
        "get-artifact?path=..%2f..%2fmlflow.db&run_uuid=x",
        "%2e%2e/health",
    ],
)
def test_paths_that_lead_out_are_refused_before_mlflow_sees_them(
    door: str, secret: str, path: str
) -> None:
    answer = raw(door, secret, path)
    assert answer.status_code == 400
    assert answer.headers["x-modelyard-code"] == "archive.path_traversal"


def test_sources_that_lead_out_are_refused(door: str, secret: str) -> None:
    factories.actor_with(Role.ADMIN)
    for source in ("file:///etc", "/etc", "mlflow-artifacts:/1/../..", "runs:/x/%2e%2e/y"):
        answer = call(
            door, secret, "POST", "model-versions/create", json={"name": "m", "source": source}
        )
        assert answer.status_code == 400, answer.text
    assert not ModelVersion.objects.exists()


def test_the_files_of_a_registered_version_no_longer_change(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    place = logged_model(door, secret)
    name = unique("kept")
    assert create_version(door, secret, name, place).status_code == 200
    version = store.version(name, 1)
    assert version is not None
    location = store.locate(version)
    for path in (f"{location}/MLmodel", f"{location}/%4dLmodel", location, location.split("/")[0]):
        for method in ("PUT", "DELETE"):
            for word in ("artifacts", "%61rtifacts"):
                answer = raw(
                    door, secret, f"api/2.0/mlflow-artifacts/{word}/{path}", method=method
                )
                assert answer.status_code == 403, (method, path)
