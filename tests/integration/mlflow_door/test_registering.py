"""Versions that come by the door, by REST and from runs, with MLflow's unmodified client."""

import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connections
from django.test import Client
from sklearn.datasets import load_breast_cancer

from apps.audit.models import AuditEvent
from apps.registry import runs, services
from apps.registry.domain.details import Details
from apps.registry.models import ModelVersion
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.actor import Role
from tests import factories
from tests.integration.door import until, worker
from tests.integration.mlflow_door.calling import (
    LOAD,
    LOG_MODEL,
    client,
    create_version,
    logged_model,
    made_here,
    persistently,
    register,
    trained,
    unique,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_log_model_registers_here_within_two_seconds(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    name = unique("logged")
    read = ModelVersion.objects.filter(manifest_digest__isnull=False)
    with worker(store, tmp_path), ThreadPoolExecutor(1) as beside:
        running = beside.submit(client, LOG_MODEL, door, secret, name)
        until(read.exists, seconds=150)  # most of it the client's own start
        seen_at = time.time()
        said = json.loads(running.result().splitlines()[-1])
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored")
        answers = json.loads(client(LOAD, door, secret, f"models:/{name}/1"))
    version = ModelVersion.objects.get()
    print(f"digest and signature {seen_at - said['at']:+.2f} s after log_model returned")
    assert seen_at - said["at"] < 2
    assert version.number == int(said["version"]) == 1
    assert version.format == "mlflow"
    assert version.inputs == [{"name": "X", "datatype": "FP64", "shape": [-1, 30]}] or (
        version.inputs[0]["shape"] == [-1, 30]
    )
    assert version.metrics == {"auc": 0.97}
    assert version.params == {"C": "1.0"}
    assert version.tags["owner"] == "ada"
    assert version.dataset == "cancer"
    assert version.dataset_digest
    assert version.run_id == said["run"]
    assert version.registered_by.endswith("token") or "/" in version.registered_by
    assert len(answers) == 30
    stored = store.version(name, 1)
    assert stored is not None
    assert stored.tags["modelyard.manifest_digest"] == version.manifest_digest
    assert AuditEvent.objects.filter(verb="registry.version.register").count() == 1


def test_a_version_registered_by_rest_loads_with_the_unmodified_client(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    model = made_here(tmp_path, unique("rest"))
    with worker(store, tmp_path):
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored", seconds=20)
    answers = json.loads(client(LOAD, door, secret, f"models:/{model.name}/1"))
    expected = pickle.loads(trained(seed=1)).predict(load_breast_cancer().data[:30])
    assert answers == [float(label) for label in expected]


def test_the_model_of_a_run_is_registered_by_naming_the_run(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    name = unique("picked")
    made_here(tmp_path, name)
    code = LOG_MODEL.replace("registered_model_name=name, ", "")
    said = json.loads(client(code, door, secret, name).splitlines()[-1])
    with worker(store, tmp_path):
        services.register_run(
            actor=factories.actor_with(Role.ADMIN),
            model=name,
            run_id=said["run"],
            artifact_path="model",
            details=Details(),
        )
        until(lambda: ModelVersion.objects.get(number=2).mirror_state == "mirrored", seconds=30)
    version = ModelVersion.objects.get(number=2)
    assert version.metrics == {"auc": 0.97}
    assert version.inputs[0]["shape"] == [-1, 30]
    listed = {(found.run_id, found.path): found for found in runs.recent()}
    assert listed[said["run"], "model"].experiment == "Default"
    browser = Client()
    browser.force_login(factories.person(role=Role.CONTRIBUTOR))
    shown = browser.get(f"/models/{name}/register").content.decode()
    assert f"?run={said['run']}&amp;model=model#run" in shown
    picked = browser.get(f"/models/{name}/register?run={said['run']}").content.decode()
    assert f'value="{said["run"]}"' in picked
    assert len(json.loads(client(LOAD, door, secret, f"models:/{name}/2"))) == 30


def test_both_doors_number_one_model_in_turn(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    name = unique("both")
    made_here(tmp_path, name)
    with worker(store, tmp_path):
        for number in (2, 4):
            answer = create_version(door, secret, name, logged_model(door, secret))
            assert answer.json()["model_version"]["version"] == str(number)
            register(tmp_path, name, seed=number)
        settled = ModelVersion.objects.filter(mirror_state="mirrored", manifest_digest__gt="")
        until(lambda: settled.count() == 5, seconds=30)
    rows = ModelVersion.objects.order_by("number").values_list("number", "door")
    assert list(rows) == [(1, "rest"), (2, "mlflow"), (3, "rest"), (4, "mlflow"), (5, "rest")]
    for row in ModelVersion.objects.all():
        stored = store.version(name, row.number)
        assert stored is not None
        assert stored.tags["modelyard.manifest_digest"] == row.manifest_digest


def test_many_register_at_once_by_both_doors(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    name = unique("crowd")
    made_here(tmp_path, name)
    places = [logged_model(door, secret) for _ in range(6)]

    def by_rest(seed: int) -> None:
        try:
            register(tmp_path, name, seed=seed)
        finally:
            connections.close_all()

    with worker(store, tmp_path), ThreadPoolExecutor(6) as crowd:
        sent = [crowd.submit(persistently, door, secret, name, place) for place in places]
        kept = [crowd.submit(by_rest, seed) for seed in range(2, 6)]
        assert [made.result(120).status_code for made in sent] == [200] * 6
        assert [made.result(60) for made in kept] == [None] * 4
        settled = ModelVersion.objects.filter(mirror_state="mirrored")
        until(lambda: settled.count() == 11, seconds=60)
    assert {v.number for v in ModelVersion.objects.all()} == set(range(1, 12))
    for row in ModelVersion.objects.all():
        stored = store.version(name, row.number)
        assert stored is not None
        assert stored.tags["modelyard.version"] == row.public_id


def test_registering_waits_for_what_is_on_its_way_and_says_so(
    door: str, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.registry.door.verbs.PATIENCE", 0.2)
    model = made_here(tmp_path, unique("behind"))
    place = logged_model(door, secret)
    answer = create_version(door, secret, model.name, place)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert "on its way to MLflow" in answer.json()["message"]
    assert ModelVersion.objects.count() == 1
