from typing import Any

import pytest
from django.test import Client

from apps.builds.models import BuildLogChunk
from tests import factories

pytestmark = pytest.mark.django_db


def post(client: Client, path: str, role: str = "contributor", **body: Any) -> Any:
    headers = factories.bearer(role)
    return client.post(f"/api/v1{path}", body, content_type="application/json", headers=headers)


def get(client: Client, path: str, role: str = "viewer") -> Any:
    return client.get(f"/api/v1{path}", headers=factories.bearer(role))


@pytest.fixture
def path() -> str:
    version = factories.version(files={"m.joblib": b"bytes"})
    return f"/models/{version.model.name}/versions/{version.number}/builds"


def test_a_build_is_asked_for_and_read(client: Client, path: str) -> None:
    answer = post(client, path, variants=["onnx"])
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert (body["state"], body["number"], body["problem"]) == ("queued", 1, None)
    read = get(client, f"/builds/{body['id']}")
    assert read.json() == body
    assert read["ETag"] == answer["ETag"]
    assert get(client, "/builds?state=active").json()["results"] == [body]


def test_a_second_build_at_the_same_time_is_a_conflict_that_names_the_first(
    client: Client, path: str
) -> None:
    first = post(client, path).json()
    answer = post(client, path)
    assert answer.status_code == 409
    assert answer.json()["code"] == "build.under_way"
    assert first["id"] in answer.json()["remedy"]


def test_an_unknown_variant_is_named(client: Client, path: str) -> None:
    answer = post(client, path, variants=["fp4"])
    assert answer.status_code in (400, 422)
    assert "fp4" in str(answer.json())


def test_a_viewer_may_read_and_not_build(client: Client, path: str) -> None:
    assert post(client, path, role="viewer").status_code == 403
    assert get(client, path).status_code == 200


def test_nobody_is_told_nothing(client: Client) -> None:
    assert client.get("/api/v1/builds").status_code == 401


def test_a_build_is_cancelled_and_retried(client: Client, path: str) -> None:
    build = post(client, path).json()["id"]
    assert post(client, f"/builds/{build}/cancel", reason="No.").json()["state"] == "cancelled"
    assert post(client, f"/builds/{build}/cancel").status_code == 409
    again = post(client, f"/builds/{build}/retry")
    assert (again.status_code, again.json()["state"], again.json()["attempt"]) == (
        202,
        "queued",
        2,
    )


def test_a_failed_build_says_why(client: Client) -> None:
    build = factories.build(
        state="failed",
        failed_step="scan",
        problem_code="build.unsafe_pickle",
        problem="It would import os.system.",
        remedy="Do not.",
    )
    assert get(client, f"/builds/{build.public_id}").json()["problem"] == {
        "code": "build.unsafe_pickle",
        "sentence": "It would import os.system.",
        "remedy": "Do not.",
        "step": "scan",
    }


def test_variants_come_with_their_proof(client: Client) -> None:
    build = factories.build()
    factories.variant(build=build, kind="onnx")
    factories.variant(build=build, kind="native", p95_ms=4.0)
    found = get(client, f"/builds/{build.public_id}").json()["variants"]
    assert [v["kind"] for v in found] == ["native", "onnx"]
    assert found[0]["p95_ms"] == 4.0
    assert found[1]["runtimes"] == ["onnxruntime", "triton"]


def test_a_log_is_read_on_from_where_one_was(client: Client) -> None:
    build = factories.build()
    for offset, text in ((0, "one\n"), (4, "two\n")):
        BuildLogChunk.objects.create(build=build, offset=offset, length=4, step="scan", text=text)
    first = get(client, f"/builds/{build.public_id}/log").json()
    assert first == {"text": "one\ntwo\n", "next": 8, "ended": True}
    assert get(client, f"/builds/{build.public_id}/log?after=4").json()["text"] == "two\n"
    assert get(client, f"/builds/{build.public_id}/log?after=x").status_code == 422


def test_a_list_takes_as_many_queries_for_two_builds_as_for_ten(
    client: Client, django_assert_max_num_queries: Any
) -> None:
    headers = factories.bearer("viewer")
    for _ in range(10):
        factories.variant()
    with django_assert_max_num_queries(12):
        answer = client.get("/api/v1/builds", headers=headers)
    assert len(answer.json()["results"]) == 10
