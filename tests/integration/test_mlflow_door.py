"""The door and the mirror with a real MLflow server and its unmodified client."""

import http.client
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.conf import settings as settings_of
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from apps.accounts.models import Person
from apps.audit.models import AuditEvent
from apps.registry import blobs, inspection, runs, services
from apps.registry.domain.details import Details
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.actor import Role
from tests import factories
from tests.integration.door import open_door, until, worker
from tests.mlflow_server import free_port

pytestmark = pytest.mark.django_db(transaction=True)

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


@pytest.fixture
def store(mlflow_url: str) -> Iterator[MlflowStore]:
    with closing(MlflowStore(mlflow_url)) as driver:
        yield driver


@pytest.fixture
def door(mlflow_url: str, settings: Settings, tmp_path: Path) -> Iterator[str]:
    settings.MLFLOW_URL = mlflow_url
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "apps.registry.blobs.BlobFolder",
            "OPTIONS": {"location": str(tmp_path / "blobs")},
        },
    }
    with open_door() as url:
        yield url


@pytest.fixture
def secret() -> str:
    factories.team(slug="fraud")
    return factories.token(role=Role.CONTRIBUTOR)[1]


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


def test_aliases_descriptions_and_tags_come_through_the_door(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    model = made_here(tmp_path, unique("alias"))
    with worker(store, tmp_path):
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored", seconds=20)
        code = CLIENT + (
            "name = sys.argv[1]\n"
            "client.set_registered_model_alias(name, 'candidate', 1)\n"
            "client.set_registered_model_alias(name, 'passing', 1)\n"
            "client.delete_registered_model_alias(name, 'passing')\n"
            "client.update_model_version(name, '1', 'written by the client')\n"
            "client.set_model_version_tag(name, '1', 'reviewed', 'yes')\n"
            "client.update_registered_model(name, 'about cells')\n"
            "print(client.get_model_version_by_alias(name, 'candidate').version)\n"
        )
        assert client(code, door, secret, model.name).splitlines()[-1] == "1"
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored")
    version = ModelVersion.objects.get()
    assert [a.name for a in Alias.objects.all()] == ["candidate"]
    assert version.description == "written by the client"
    assert version.tags["reviewed"] == "yes"
    assert RegisteredModel.objects.get().description == "about cells"
    stored = store.model(model.name)
    assert stored is not None
    assert dict(stored.aliases) == {"candidate": 1}


def test_an_alias_moved_here_moves_in_mlflow(
    door: str, store: MlflowStore, tmp_path: Path
) -> None:
    model = made_here(tmp_path, unique("moves"))
    register(tmp_path, model.name, seed=2)
    ada = factories.actor_with(Role.ADMIN)
    with worker(store, tmp_path):
        for number in (1, 2):
            services.move_alias(actor=ada, model=model.name, alias="candidate", number=number)
            until(lambda n=number: aliases(store, model.name) == {"candidate": n}, seconds=20)
        services.remove_alias(actor=ada, model=model.name, alias="candidate")
        until(lambda: aliases(store, model.name) == {})


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


def test_nobody_is_asked_to_sign_in_and_programs_are_told(door: str) -> None:
    page = httpx.get(door + "/?x=1", headers={"Accept": "text/html"})
    assert page.status_code == 303
    assert page.headers["location"] == "/sign-in?next=%2Fmlflow%2F%3Fx%3D1"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !!"}):
        answer = httpx.get(door + "/api/2.0/mlflow/experiments/search", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error_code"] == "UNAUTHENTICATED"


def test_a_token_also_works_as_the_password_of_any_user(door: str, secret: str) -> None:
    answer = httpx.get(
        door + "/api/2.0/mlflow/experiments/get?experiment_id=0", auth=("anybody", secret)
    )
    assert answer.status_code == 200


def test_a_session_sees_mlflow_s_pages_and_writes_only_from_there(door: str) -> None:
    cookie = session_of(factories.person(role=Role.CONTRIBUTOR))
    origin = door.removesuffix("/mlflow")
    page = httpx.get(door + "/", cookies=cookie, headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "<title>MLflow</title>" in page.text
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    script = page.text.partition('src="')[2].partition('"')[0]
    assert httpx.get(f"{door}/{script}", cookies=cookie).status_code == 200
    search = door + "/ajax-api/2.0/mlflow/runs/search"
    body = {"experiment_ids": ["0"]}
    for headers, status in (
        ({}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": origin, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": origin}, 200),
        ({"Referer": origin + "/mlflow/"}, 200),
    ):
        answer = httpx.post(search, cookies=cookie, headers=headers, json=body)
        assert answer.status_code == status, headers


def test_a_stranger_s_host_is_refused(door: str, secret: str) -> None:
    answer = httpx.get(door + "/health", headers={"Host": "evil.test"})
    assert answer.status_code == 400


def test_large_artifacts_stream_both_ways(door: str, secret: str, tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    (tmp_path / "large").write_bytes(os.urandom(1024) * (size // 1024))
    url = f"{door}/api/2.0/mlflow-artifacts/artifacts/0/{'0' * 32}/artifacts/large.bin"
    headers = {"Authorization": f"Bearer {secret}"}
    with (tmp_path / "large").open("rb") as stream:
        sent = httpx.put(url, content=stream, headers=headers, timeout=60)
    assert sent.status_code == 200
    got = httpx.get(url, headers=headers, timeout=60)
    assert got.content == (tmp_path / "large").read_bytes()
    assert got.headers["content-security-policy"].startswith("sandbox")
    part = httpx.get(url, headers={**headers, "Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, got.content[5:10])


def test_credentials_are_not_passed_on(
    door: str, secret: str, settings: Settings, tmp_path: Path
) -> None:
    seen: list[dict[str, str]] = []
    with mirror_of_headers(seen) as url:
        settings.MLFLOW_URL = url
        httpx.get(
            door + "/api/2.0/mlflow/experiments/get",
            headers={"Authorization": f"Bearer {secret}", "Cookie": "a=b", "X-Kept": "1"},
        )
    assert "authorization" not in seen[0]
    assert "cookie" not in seen[0]
    assert seen[0]["x-kept"] == "1"


def test_mlflow_down_is_said_in_its_own_form_and_nothing_is_registered(
    door: str, secret: str, settings: Settings
) -> None:
    settings.MLFLOW_URL = f"http://127.0.0.1:{free_port()}/mlflow"
    for answer in (
        call(door, secret, "GET", "experiments/get?experiment_id=0"),
        call(door, secret, "POST", "model-versions/create", json=VERSION),
    ):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert not ModelVersion.objects.exists()


def test_prompts_stay_mlflow_s_own(door: str, secret: str) -> None:
    name = unique("prompt")
    code = (
        "import sys, mlflow; mlflow.genai.register_prompt(name=sys.argv[1], template='Hi {{x}}')"
    )
    client(code, door, secret, name)
    assert not RegisteredModel.objects.filter(name=name).exists()


VERSION = {"name": "m", "source": "models:/m-0"}


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


def session_of(person: Person) -> dict[str, str]:
    browser = Client()
    browser.force_login(person)
    return {settings_of.SESSION_COOKIE_NAME: browser.cookies["modelyard_session"].value}


@contextmanager
def mirror_of_headers(seen: list[dict[str, str]]) -> Iterator[str]:
    """Serve an upstream that notes the headers it is sent."""

    class Noting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Noting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
