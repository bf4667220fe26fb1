"""REST of endpoints and their traffic."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from apps.endpoints.domain.values import Prediction
from apps.endpoints.models import Endpoint
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Transient
from tests import factories

pytestmark = pytest.mark.django_db


class Predictor:
    """Answers what it was asked, or fails as it is told."""

    error: Exception | None = None

    def __init__(self, serving_url: str) -> None:
        self.url = serving_url

    def predict(self, *, body: Mapping[str, Any], request_id: str, **address: str) -> Prediction:
        if self.error:
            raise self.error
        return Prediction({**address, "inputs": body["inputs"]}, 1.23456, 1, request_id)


@pytest.fixture(autouse=True)
def house(settings: Any, tmp_path: Any) -> None:
    settings.ENDPOINT_KEYS = tmp_path / "endpoint-keys"
    settings.PREDICTOR = f"{__name__}.Predictor"


@pytest.fixture
def api(client: Any) -> Any:
    headers = factories.bearer(Role.ADMIN)

    def call(method: str, path: str, body: Any = None, **more: Any) -> Any:
        return client.generic(
            method,
            f"/api/v1{path}",
            data=json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers={**headers, **more},
        )

    return call


def wanted() -> dict[str, Any]:
    version = factories.version(inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 2]}])
    factories.variant(version=version)
    return {"model": version.model.name, "version": version.number, "environment": "dev"}


def test_a_version_is_served_once_however_often_it_is_asked(api: Any) -> None:
    body = wanted()
    first = api("POST", "/endpoints/serve", body)
    assert first.status_code == 202
    assert first.json()["revision"]["state"] == "pending"
    assert first.json()["endpoint"]["state"] == "starting"
    again = api("POST", "/endpoints/serve", body)
    assert again.status_code == 200
    assert again.json()["revision"]["id"] == first.json()["revision"]["id"]


def test_an_endpoint_shows_what_it_serves_and_how_to_ask_it(api: Any) -> None:
    revision = factories.revision()
    endpoint = revision.endpoint
    shown = api("GET", f"/endpoints/{endpoint.public_id}").json()
    assert shown["state"] == "live"
    assert shown["serves"]["version"] == revision.version.number
    assert shown["serves"]["variant"] == "onnx"
    assert shown["address"].endswith(f"/dev/{endpoint.name}/v2/models/{endpoint.name}/infer")
    assert shown["address"] in shown["curl"]
    assert shown["address"] in shown["python"]
    (row,) = shown["revisions"]
    assert (row["weight"], row["problem"], row["replicas"][0]["state"]) == (100, None, "ready")
    (listed,) = api("GET", "/endpoints?environment=dev").json()["results"]
    assert listed["id"] == endpoint.public_id
    assert api("GET", "/endpoints?environment=staging").json()["results"] == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "nobody"}, 404, None),
        ({"version": 99}, 404, None),
        ({"environment": "moon"}, 404, "environments.missing"),
        ({"replicas": 99}, 422, "endpoint.replicas"),
        ({"variant": "native"}, 404, "endpoint.no_variant"),
        ({"variant": "nonsense"}, 422, None),
        ({"nonsense": 1}, 422, None),
    ],
)
def test_what_cannot_be_served_is_a_problem_with_a_remedy(
    api: Any, change: dict[str, Any], status: int, code: str | None
) -> None:
    answer = api("POST", "/endpoints/serve", {**wanted(), **change})
    assert answer.status_code == status, answer.content
    assert code is None or answer.json()["code"] == code
    assert answer["Content-Type"] == "application/problem+json"


def test_keys_are_shown_once(api: Any) -> None:
    endpoint = factories.revision().endpoint
    path = f"/endpoints/{endpoint.public_id}/keys"
    made = api("POST", path, {"name": "ci"}, **{"Idempotency-Key": "k"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.endswith(made.json()["tail"])
    assert secret not in api("GET", path).content.decode()
    assert (
        secret
        not in api("POST", path, {"name": "ci"}, **{"Idempotency-Key": "k"}).content.decode()
    )
    revoked = api("POST", f"{path}/{made.json()['id']}/revoke", {"reason": "lost"})
    assert revoked.json()["revoked_at"] is not None


def test_an_endpoint_is_scaled_and_retired(api: Any) -> None:
    endpoint = factories.revision().endpoint
    scaled = api("POST", f"/endpoints/{endpoint.public_id}/scale", {"replicas": 2})
    assert scaled.status_code == 202
    assert scaled.json()["state"] == "degraded"
    retired = api("POST", f"/endpoints/{endpoint.public_id}/retire", {"reason": "over"})
    assert retired.json()["state"] == "retired"
    assert Endpoint.objects.get(pk=endpoint.pk).retired_at is not None
    assert api("GET", "/endpoints").json()["results"] == []
    assert len(api("GET", "/endpoints?retired=true").json()["results"]) == 1


def test_an_endpoint_is_tried_as_its_callers_would(api: Any, monkeypatch: Any) -> None:
    endpoint = factories.revision().endpoint
    path = f"/endpoints/{endpoint.public_id}/predict"
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}
    answer = api("POST", path, body).json()
    assert answer["response"]["inputs"] == body["inputs"]
    assert answer["response"]["name"] == endpoint.name
    assert answer["response"]["key"] == ""
    assert (answer["milliseconds"], answer["revision"]) == (1.235, 1)
    endpoint.key_required = True
    endpoint.save()
    assert api("POST", path, body).json()["response"]["key"].startswith("ey")
    monkeypatch.setattr(
        Predictor, "error", Transient("Nobody is ready.", code="predict.unavailable")
    )
    refused = api("POST", path, body)
    assert refused.status_code == 503
    assert refused.json()["code"] == "predict.unavailable"
    assert api("POST", path, {"inputs": []}).status_code == 422


def test_silence_is_null_and_never_zero(api: Any) -> None:
    endpoint = factories.revision().endpoint
    traffic = api("GET", f"/endpoints/{endpoint.public_id}/traffic?minutes=5").json()
    assert traffic["series"] == []
    assert traffic["total"]["requests"] is None
    assert traffic["total"]["p99_ms"] is None
    for wrong in ("0", "x", "99999"):
        assert (
            api("GET", f"/endpoints/{endpoint.public_id}/traffic?minutes={wrong}").status_code
            == 422
        )
