"""What is answered beside Django is what Django would have answered, or Django answers."""

import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.db import connections
from django.test import Client

from apps.accounts.models import ApiToken
from apps.registry import services
from apps.registry.api import beside
from apps.registry.api.quick import QuickReads
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
MODEL = "/api/v1/models/card-fraud"
OWN = ("x-request-id", "content-length")  # differ by nature, or are added by the server


async def not_ours(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask(
    path: str, headers: dict[str, str], method: str
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body; 299 where the request was handed on."""
    application = QuickReads(not_ours)
    try:
        plain, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": plain, "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "scheme": "http",
        }  # fmt: skip
        speaker = ApplicationCommunicator(application, scope)
        await speaker.send_input({"type": "http.request", "body": b"", "more_body": False})
        start = await speaker.receive_output(timeout=10)
        body = await speaker.receive_output(timeout=10)
        shown = {k.decode().lower(): v.decode() for k, v in start["headers"]}
        return start["status"], shown, body["body"]
    finally:
        await beside.close()


def quick(path: str, headers: dict[str, str], method: str = "GET") -> Any:
    return async_to_sync(ask)(path, headers, method)


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return those of a token that Django has seen just now."""
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 0)
    _, secret = factories.token(role="viewer")
    ApiToken.objects.update(last_used_at=SystemClock().now())
    return {"Authorization": f"Bearer {secret}", "Host": "testserver"}


@pytest.fixture
def model() -> Any:
    model = factories.model(name="card-fraud", description="größer", task="x")
    for number in (1, 2, 3):
        shape = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
        factories.version(
            model=model, metrics={"auc": 0.1 + 0.2, "n": 1e21}, params={"a": "ü"}, inputs=[shape],
            facts={"labels": [1, "a", None, 0.5]}, trained_at=SystemClock().now(),
            state="archived" if number == 3 else "registered",
        )  # fmt: skip
    for alias in ("zeta", "alpha"):
        services.move_alias(
            actor=worker("tests"), model="card-fraud", alias=alias, number=2, reason=""
        )
    return model


@pytest.mark.parametrize(
    "path",
    [MODEL, f"{MODEL}/versions/2", f"{MODEL}/versions/3", f"{MODEL}/versions",
     f"{MODEL}/versions?limit=1", f"{MODEL}/versions?limit=200"],
)  # fmt: skip
def test_the_answer_is_django_s_own(
    client: Client, headers: dict[str, str], model: Any, path: str
) -> None:
    status, shown, body = quick(path, headers)
    django = client.get(path, headers=headers)
    assert status == django.status_code == 200
    theirs, ours = django.json(), json.loads(body)
    if theirs.get("next"):
        # A cursor is signed with its time; what it points to must be the same.
        page = ours.pop("next")
        assert page.split("cursor=")[0] == theirs.pop("next").split("cursor=")[0]
        assert [v["number"] for v in client.get(page, headers=headers).json()["results"]] == [1]
        assert ours == theirs
    else:
        assert body == django.content
    theirs = {name.lower(): value for name, value in django.headers.items()}
    for name in OWN:
        theirs.pop(name, None)
        shown.pop(name, None)
    assert shown == theirs


def test_what_the_client_has_is_not_sent_again(headers: dict[str, str], model: Any) -> None:
    _, shown, _ = quick(f"{MODEL}/versions/2", headers)
    status, again, body = quick(f"{MODEL}/versions/2", {**headers, "If-None-Match": shown["etag"]})
    assert (status, body, again["etag"]) == (304, b"", shown["etag"])


@pytest.mark.parametrize(
    "path",
    [f"{MODEL}/versions/9", "/api/v1/models/other", "/api/v1/models", f"{MODEL}/versions?q=x",
     f"{MODEL}/versions?limit=201", f"{MODEL}/versions?limit=0", f"{MODEL}?fields=name",
     f"{MODEL}/versions/2/files", f"{MODEL}/versions/2?x=1", "/livez"],
)  # fmt: skip
def test_whatever_is_not_certain_is_django_s(
    headers: dict[str, str], model: Any, path: str
) -> None:
    assert quick(path, headers)[0] == 299


def test_only_a_good_token_of_this_host_is_answered(headers: dict[str, str], model: Any) -> None:
    assert quick(MODEL, headers, method="POST")[0] == 299
    assert quick(MODEL, {**headers, "Host": "evil.example"})[0] == 299
    assert quick(MODEL, {"Host": "testserver"})[0] == 299
    assert quick(MODEL, {**headers, "Authorization": "Bearer my_wrong"})[0] == 299
    assert quick(MODEL, {**headers, "Accept": "text/html"})[0] == 299


@pytest.mark.parametrize(
    "columns",
    [
        {"revoked_at": SystemClock().now()},
        {"expires_at": SystemClock().now()},
        {"last_used_at": None},
        {"scopes": ["builds.read"]},
    ],
)
def test_a_token_that_is_not_good_is_django_s_to_refuse(
    headers: dict[str, str], model: Any, columns: dict[str, Any]
) -> None:
    assert quick(MODEL, headers)[0] == 200
    ApiToken.objects.update(**columns)
    assert quick(MODEL, headers)[0] == 299


@pytest.mark.parametrize(("ago", "status"), [(58, 200), (61, 299)])
def test_django_sees_a_token_just_when_it_would_note_its_use(
    client: Client, headers: dict[str, str], model: Any, ago: int, status: int
) -> None:
    noted = SystemClock().now() - timedelta(seconds=ago)
    ApiToken.objects.update(last_used_at=noted)
    assert quick(MODEL, headers)[0] == status
    client.get(MODEL, headers=headers)
    assert (ApiToken.objects.get().last_used_at != noted) is (status == 299)


def test_somebody_who_has_left_or_may_not_see_is_not_answered(
    headers: dict[str, str], model: Any
) -> None:
    stranger = factories.person()
    factories.grant(person=stranger, role="admin", team=factories.team())
    token, secret = factories.token(owner=stranger)
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=SystemClock().now())
    assert quick(MODEL, {**headers, "Authorization": f"Bearer {secret}"})[0] == 299
    owner = ApiToken.objects.exclude(pk=token.pk).get().owner
    owner.is_active = False
    owner.save()
    assert quick(MODEL, headers)[0] == 299
