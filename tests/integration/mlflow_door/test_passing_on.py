"""What the door passes on to MLflow and what it keeps back, and who may come in."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from django.conf import settings as settings_of
from django.test import Client
from pytest_django.fixtures import Settings

from apps.accounts.models import Person
from apps.registry.models import ModelVersion, RegisteredModel
from controlplane.kernel.actor import Role
from tests import factories
from tests.integration.mlflow_door.calling import call, client, unique
from tests.mlflow_server import free_port

pytestmark = pytest.mark.django_db(transaction=True)
VERSION = {"name": "m", "source": "models:/m-0"}


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
