"""What stands beside Django in the web process lets in nobody that Django would not."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

from apps.console.live import live_events
from apps.registry.api.upload_bytes import upload_bytes
from apps.registry.door.proxy import mlflow_door
from controlplane.project.settings.env import ROOT
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

MOUNTED: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "/mlflow": (
        mlflow_door,
        [
            ("GET", "/mlflow/"),
            ("GET", "/mlflow/api/2.0/mlflow/experiments/search"),
            ("POST", "/mlflow/api/2.0/mlflow/registered-models/create"),
        ],
    ),
    "/live": (live_events, [("GET", "/live")]),
    "/uploads": (upload_bytes, [("PATCH", "/uploads/x"), ("HEAD", "/uploads/x")]),
}
ASKED = [
    (application, method, path)
    for application, requests in MOUNTED.values()
    for method, path in requests
]


@pytest.fixture(autouse=True)
def an_mlflow_that_nobody_may_reach(settings: Any) -> Iterator[None]:
    settings.MLFLOW_URL = "http://127.0.0.1:9"
    yield
    with connection.cursor() as cursor:  # what the applications' threads have left open
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def status_of(application: Any, method: str, path: str, **headers: str) -> int:
    """Return the status that `application` answers one request with."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"topics=home",
        "headers": [(n.encode(), v.encode()) for n, v in {"host": "127.0.0.1", **headers}.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"name": "x"}', "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async_to_sync(application)(scope, receive, send)
    return int(sent[0]["status"])


def test_every_application_that_is_mounted_is_asked() -> None:
    # Read, not imported: it makes the process a web server.
    source = (ROOT / "platform" / "controlplane" / "project" / "asgi.py").read_text()
    mounted = re.findall(r'"(/[a-z]+)": \w+', source)
    assert sorted(mounted) == sorted(MOUNTED)


@pytest.mark.parametrize(("application", "method", "path"), ASKED)
def test_nobody_and_a_bad_token_are_told_to_sign_in(
    application: Any, method: str, path: str
) -> None:
    for headers in (
        {},
        {"authorization": "Bearer my_nonsense"},
        {"cookie": "modelyard_session=x"},
    ):
        status = status_of(application, method, path, **headers)
        assert status == 401 or (status in (302, 303) and path == "/mlflow/"), headers


# A stream names what changed, never what it is: being signed in is enough for it.
@pytest.mark.parametrize(
    ("application", "method", "path"), [a for a in ASKED if a[0] is not live_events]
)
def test_somebody_without_a_role_is_refused(application: Any, method: str, path: str) -> None:
    _, secret = factories.token(owner=factories.person())
    status = status_of(application, method, path, authorization=f"Bearer {secret}")
    assert status in (403, 404), "403, or 404 where even knowing would be too much"
