"""Registering beside Django: the same answers and rows as Django's, and Django for the rest."""

import asyncio
import json
import struct
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client

from apps.accounts.models import ApiToken
from apps.audit.models import AuditEvent
from apps.registry import services
from apps.registry.api import beside
from apps.registry.api.quick_register import QuickRegister
from apps.registry.models import ModelVersion, RegisteredModel, Upload, VersionFile
from controlplane.kernel.clock import SystemClock
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/api/v1/models/card-fraud/versions"
OWN = ("x-request-id", "content-length")  # differ by nature, or are added by the server
Answer = tuple[int, dict[str, str], bytes]


def finished_upload(person: Any, weight: bytes) -> str:
    """Return the id of a finished upload of a small safetensors file that holds `weight`."""
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (
        len(weight),
        len(weight),
    )
    content = struct.pack("<Q", len(header)) + header + weight
    actor = factories.actor_of(person)
    file = SimpleUploadedFile("w.safetensors", content)
    return services.keep_uploaded_file(actor=actor, file=file).public_id


async def handed_on(scope: Any, receive: Any, send: Any) -> None:
    """Answer 299 with the body that still arrives, as Django would have read it."""
    message = await receive()
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


async def ask_all(asks: list[tuple[bytes, dict[str, str], str]]) -> list[Answer]:
    application = QuickRegister(handed_on)

    async def one(body: bytes, headers: dict[str, str], path: str) -> Answer:
        plain, _, query = path.partition("?")
        given = {"content-length": str(len(body)), "content-type": "application/json", **headers}
        scope = {
            "type": "http", "method": "POST", "path": plain, "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
        }  # fmt: skip
        speaker = ApplicationCommunicator(application, scope)
        await speaker.send_input({"type": "http.request", "body": body, "more_body": False})
        start = await speaker.receive_output(timeout=20)
        end = await speaker.receive_output(timeout=20)
        shown = {k.decode().lower(): v.decode() for k, v in start["headers"]}
        return start["status"], shown, end["body"]

    try:
        return list(await asyncio.gather(*(one(*ask) for ask in asks)))
    finally:
        await beside.close()


def quick(body: Any, headers: dict[str, str], path: str = PATH) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return async_to_sync(ask_all)([(content, headers, path)])[0]


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 0)
    person = factories.person()
    model = factories.model(name="card-fraud")
    factories.grant(person=person, role="contributor", team=model.team)
    return person


@pytest.fixture
def headers(person: Any) -> dict[str, str]:
    """Return those of a token that Django has seen just now."""
    _, secret = factories.token(owner=person)
    ApiToken.objects.update(last_used_at=SystemClock().now())
    return {"Authorization": f"Bearer {secret}", "Host": "testserver"}


def test_the_answer_and_the_rows_are_django_s_own(
    client: Client, person: Any, headers: dict[str, str]
) -> None:
    said = {"semver": "1.2.0", "metrics": {"auc": 0.5}, "tags": {"a": "ü"}, "git_commit": "abc",
            "trained_at": "2026-03-04T05:06:07Z"}  # fmt: skip
    ours, theirs = finished_upload(person, b"one"), finished_upload(person, b"two")
    status, shown, body = quick({"upload": ours, **said}, headers)
    django = client.post(
        PATH, {"upload": theirs, **said}, content_type="application/json", headers=headers
    )
    assert status == django.status_code == 201
    different = ("id", "number", "digest", "created_at", "changed_at")
    first, second = json.loads(body), django.json()
    assert first.keys() == second.keys()
    assert {k for k in first if first[k] != second[k]} <= set(different)
    names = {name.lower(): value for name, value in django.headers.items()}
    assert shown["location"] == f"{PATH}/1"
    assert names["location"] == f"{PATH}/2"
    for name in (*OWN, "etag", "location"):
        names.pop(name, None)
        shown.pop(name, None)
    assert shown == names
    a, b = AuditEvent.objects.filter(verb="registry.version.register").order_by("id")
    assert (a.actor_kind, a.actor_name, a.after.keys()) == (
        b.actor_kind, b.actor_name, b.after.keys(),
    )  # fmt: skip
    assert VersionFile.objects.count() == 2
    assert {u.state for u in Upload.objects.all()} == {"registered"}
    assert RegisteredModel.objects.get().next_number == 3


def test_many_at_once_are_each_registered_once(person: Any, headers: dict[str, str]) -> None:
    uploads = [finished_upload(person, str(k % 9).encode()) for k in range(12)]
    asks = [
        (json.dumps({"upload": upload}).encode(), {**headers, "X-Request-Id": f"r{k}"}, PATH)
        for k, upload in enumerate(uploads)
    ]
    answers = async_to_sync(ask_all)(asks)
    statuses = [status for status, _, _ in answers]
    # Nine contents; the three that came twice are for Django to answer with what there is.
    assert sorted(statuses) == [201] * 9 + [299] * 3
    numbers = sorted(json.loads(body)["number"] for status, _, body in answers if status == 201)
    assert numbers == list(range(1, 10))
    model = RegisteredModel.objects.get()
    assert (model.version_count, model.latest_number, model.next_number) == (9, 9, 10)
    for k, (status, _, body) in enumerate(answers):
        if status == 201:
            target = f"version/{json.loads(body)['id']}"
            assert AuditEvent.objects.get(target=target).request_id == f"r{k}"


def test_what_was_registered_before_is_django_s_to_answer(
    person: Any, headers: dict[str, str]
) -> None:
    upload = finished_upload(person, b"same")
    assert quick({"upload": upload}, headers)[0] == 201
    status, _, body = quick({"upload": upload}, headers)
    assert (status, json.loads(body)) == (299, {"upload": upload})
    assert ModelVersion.objects.count() == 1


def test_one_bad_registration_does_not_stop_the_others(
    person: Any, headers: dict[str, str]
) -> None:
    stranger = factories.person()
    factories.grant(person=stranger, role="contributor", team=RegisteredModel.objects.get().team)
    good, others = finished_upload(person, b"good"), finished_upload(stranger, b"not yours")
    bodies = [{"upload": good}, {"upload": others}, {"upload": "000000000000"}]
    asks = [(json.dumps(body).encode(), headers, PATH) for body in bodies]
    assert [status for status, _, _ in async_to_sync(ask_all)(asks)] == [201, 299, 299]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"upload": 1}', b'{"upload": "x", "upload": "y"}', b'{"upload": "a\\u0000"}',
     b'{"run_id": "abc"}', b'{"upload": "x", "misspelt": 1}',
     b'{"upload": "x", "metrics": {"a": "b"}}', b'{"upload": "x", "semver": "not one"}',
     b'{"upload": "x", "run_id": "abc"}'],
)  # fmt: skip
def test_a_body_that_is_not_certain_is_django_s(headers: dict[str, str], body: bytes) -> None:
    status, _, heard = quick(body, headers)
    assert (status, heard) == (299, body)


def test_only_plain_requests_with_a_good_token_are_answered(
    person: Any, headers: dict[str, str]
) -> None:
    body = {"upload": finished_upload(person, b"good")}
    for more in (
        {"Idempotency-Key": "k"}, {"Host": "evil.example"}, {"Authorization": "Bearer my_wrong"},
        {"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}, {"Accept": "text/html"},
    ):  # fmt: skip
        assert quick(body, {**headers, **more})[0] == 299, more
    assert quick(body, headers, PATH + "?create_model=1")[0] == 299
    assert quick(body, headers, "/api/v1/models/unknown/versions")[0] == 299
    assert not ModelVersion.objects.exists()


def test_an_archived_model_and_a_reader_are_django_s_to_refuse(
    person: Any, headers: dict[str, str]
) -> None:
    body = {"upload": finished_upload(person, b"good")}
    ApiToken.objects.update(scopes=["registry.read"])
    assert quick(body, headers)[0] == 299
    ApiToken.objects.update(scopes=None)
    RegisteredModel.objects.update(archived_at=SystemClock().now())
    assert quick(body, headers)[0] == 299
    assert not ModelVersion.objects.exists()


def test_a_transaction_that_fails_leaves_all_to_django(
    person: Any, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**given: Any) -> Any:
        raise ConnectionError("the database went away")

    monkeypatch.setattr(services, "register_together", fails)
    assert quick({"upload": finished_upload(person, b"good")}, headers)[0] == 299
