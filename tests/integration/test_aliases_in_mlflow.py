"""Whether MLflow keeps its word: with a real server and its unmodified client."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings

from apps.audit.models import AuditEvent
from apps.notifications.models import Notification
from apps.registry import services
from apps.registry.models import ModelVersion, RegisteredModel
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.actor import Role, worker
from controlplane.kernel.errors import Transient
from tests import factories, mlflow_server
from tests.integration.door import looking, open_door, until
from tests.integration.door import worker as mirroring
from tests.integration.mlflow_door.calling import (
    CLIENT,
    aliases,
    call,
    client,
    create_version,
    logged_model,
    made_here,
    register,
    unique,
)
from workers.app import app

pytestmark = pytest.mark.django_db(transaction=True)

RELEASES = worker("releases")
BEAT = float(app.conf.beat_schedule["discover"]["schedule"])
PROTECTED = "The alias champion follows what is live in production; only a release moves it."


@pytest.fixture(autouse=True)
def _files_aside(settings: Settings, tmp_path: Path) -> None:
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    settings.PUBLIC_URL = "https://yard.example"
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "apps.registry.blobs.BlobFolder",
            "OPTIONS": {"location": str(tmp_path / "blobs")},
        },
    }


@pytest.fixture
def store(mlflow_url: str, settings: Settings) -> Iterator[MlflowStore]:
    settings.MLFLOW_URL = mlflow_url
    with closing(MlflowStore(mlflow_url)) as driver:
        yield driver


@pytest.fixture
def model(store: MlflowStore, tmp_path: Path) -> RegisteredModel:
    """Return a model of two versions that MLflow has, the first of them live."""
    made = two_versions(tmp_path)
    with mirroring(store, tmp_path):
        until(all_mirrored, seconds=30)
        follow(made, 1)
        until(lambda: aliases(store, made.name) == {"champion": 1})
    return made


def test_the_unmodified_client_is_told_to_propose_a_release(
    store: MlflowStore, model: RegisteredModel
) -> None:
    secret = factories.token(role=Role.ADMIN)[1]
    with open_door() as door:
        for act in ("set_registered_model_alias({n!r}, 'champion', 2)",
                    "delete_registered_model_alias({n!r}, 'champion')"):  # fmt: skip
            said = client(CLIENT + f"client.{act.format(n=model.name)}", door, secret, ok=False)
            assert "PERMISSION_DENIED" in said
            assert PROTECTED in said
            number = 2 if "set_" in act else 1
            assert (
                f"Propose a release: https://yard.example/releases/new?model={model.name}"
                f"&version={number}&environment=production"
            ) in said
    assert aliases(store, model.name) == {"champion": 1}


def test_our_tags_and_what_versions_are_made_of_stay_as_they_are(
    store: MlflowStore, model: RegisteredModel
) -> None:
    secret = factories.token(role=Role.ADMIN)[1]
    name = model.name
    with open_door() as door:
        place = logged_model(door, secret)
        assert create_version(door, secret, unique("by-mlflow"), place).status_code == 200
        ours = str(store.version(name, 1).source).removeprefix("models:/")  # type: ignore[union-attr]
        tag = {"key": "modelyard.manifest_digest", "value": "sha256:0"}
        for method, path, body in [
            ("POST", "model-versions/set-tag", {"name": name, "version": "1", **tag}),
            ("DELETE", "model-versions/delete-tag", {"name": name, "version": "1", **tag}),
            ("POST", "registered-models/set-tag", {"name": name, **tag}),
            ("POST", "model-versions/create",
             {"name": name, "source": f"models:/{place}", "tags": [tag]}),
            ("POST", "logged-models", {"experiment_id": "0", "name": "x", "tags": [tag]}),
            ("PATCH", f"logged-models/{place}/tags", {"tags": [tag]}),
            ("DELETE", f"logged-models/{ours}/tags/modelyard.version", {}),
            ("DELETE", f"logged-models/{ours}", {}),
            ("DELETE", f"logged-models/{place}", {}),
            ("DELETE", "model-versions/delete", {"name": name, "version": "1"}),
            ("DELETE", "registered-models/delete", {"name": name}),
        ]:  # fmt: skip
            answer = call(door, secret, method, path, json=body)
            assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
            assert "archive" in answer.text.lower() or "Choose a name" in answer.text
        free = logged_model(door, secret)
        assert call(door, secret, "DELETE", f"logged-models/{free}").status_code == 200
        mine = {"tags": [{"key": "mine", "value": "1"}]}
        assert call(door, secret, "PATCH", f"logged-models/{place}/tags", json=mine).is_success
    assert store.version(name, 1).tags["modelyard.manifest_digest"] != "sha256:0"  # type: ignore[union-attr]


def test_the_alias_follows_our_decision(
    store: MlflowStore, model: RegisteredModel, tmp_path: Path
) -> None:
    with mirroring(store, tmp_path):
        for number in (2, 1, 2):
            follow(model, number)
            took = until(partial(names, store, model, number), seconds=60)
            print(f"\nthe alias followed after {took:.2f} s")
            until(all_mirrored, seconds=60)


def test_an_alias_moved_past_the_door_is_noticed_put_back_and_told(
    store: MlflowStore, model: RegisteredModel, tmp_path: Path
) -> None:
    member = factories.person()
    factories.grant(person=member, role="viewer", team=model.team)
    with mirroring(store, tmp_path), looking(store, seconds=BEAT):
        store.set_alias(model.name, "champion", 2)  # MLflow's own port, not the door
        until(lambda: AuditEvent.objects.filter(verb="registry.alias.put_back"), seconds=60)
        until(lambda: aliases(store, model.name) == {"champion": 1}, seconds=60)
    # A look that falls between the putting back and its reaching MLflow records it again.
    event = AuditEvent.objects.filter(verb="registry.alias.put_back").earliest("id")
    assert (event.before, event.after) == ({"version": 2}, {"version": 1})
    assert (event.actor_kind, event.subject) == ("worker", f"{model.name}@champion")
    told = Notification.objects.filter(person=member).values_list("kind", flat=True)
    assert set(told) == {"alias.moved"}


def test_mlflow_down_hides_nothing_and_all_converges_when_it_is_back(
    settings: Settings, tmp_path: Path, client: Client
) -> None:
    folder, port = tmp_path / "mlflow", mlflow_server.free_port()
    folder.mkdir()
    settings.MLFLOW_URL = f"http://127.0.0.1:{port}"
    store = MlflowStore(settings.MLFLOW_URL)
    with mirroring(store, tmp_path), looking(store, seconds=BEAT), closing(store):
        with mlflow_server.serving(folder, port=port):
            model = two_versions(tmp_path)
            until(all_mirrored, seconds=30)
            follow(model, 1)
            services.move_alias(
                actor=factories.actor_with(Role.ADMIN), model=model.name, alias="shadow", number=1
            )
            until(lambda: aliases(store, model.name) == {"champion": 1, "shadow": 1})
            until(all_mirrored)
        with pytest.raises(Transient):
            store.model(model.name)
        follow(model, 2)
        register(tmp_path, model.name, seed=3)
        tamper(folder, model.name, alias="champion", number=1)
        tamper(folder, model.name, alias="shadow", number=2)
        headers = factories.bearer("viewer")
        shown = client.get(f"/api/v1/models/{model.name}", headers=headers).json()
        assert shown["aliases"] == {"champion": 2, "shadow": 1}
        until(lambda: ModelVersion.objects.filter(attempts__gt=1).exists(), seconds=20)
        # As after an outage of an hour, when the pauses between attempts have grown.
        waiting = ModelVersion.objects.filter(mirror_state="pending")
        waiting.update(attempts=9, next_reconcile_at="2100-01-01T00:00:00Z")
        with mlflow_server.serving(folder, port=port):
            back_at = time.monotonic()
            until(lambda: aliases(store, model.name) == {"champion": 2, "shadow": 2}, seconds=60)
            until(all_mirrored, seconds=60)
            assert store.version(model.name, 3) is not None
            until(lambda: here(model) == {"champion": 2, "shadow": 2}, seconds=60)
            assert time.monotonic() - back_at < 60


def names(store: MlflowStore, model: RegisteredModel, number: int) -> bool:
    return aliases(store, model.name) == {"champion": number}


def two_versions(tmp_path: Path) -> RegisteredModel:
    made = made_here(tmp_path, unique("live"))
    register(tmp_path, made.name, seed=2)
    return made


def follow(model: RegisteredModel, number: int) -> None:
    """Say that a version is live now, as a release does."""
    services.follow_live(
        actor=RELEASES, model=model.name, alias="champion", number=number, reason="release 1"
    )


def all_mirrored() -> bool:
    return not ModelVersion.objects.exclude(mirror_state="mirrored").exists()


def here(model: RegisteredModel) -> dict[str, int]:
    return dict(model.aliases.values_list("name", "version__number"))


def tamper(folder: Path, name: str, *, alias: str, number: int) -> None:
    """Move an alias straight in MLflow's database."""
    with _database(folder) as database:
        done = database.execute(
            "UPDATE registered_model_aliases SET version = ? WHERE name = ? AND alias = ?",
            (number, name, alias),
        )
        assert done.rowcount == 1


@contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        yield database
        database.commit()


@pytest.fixture(autouse=True)
def _connections_end() -> Iterator[None]:
    yield
    connections.close_all()
