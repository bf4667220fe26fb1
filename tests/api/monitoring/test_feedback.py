"""REST of feedback."""

import json
from typing import Any

import pytest
from django.test import Client

from apps.endpoints.models import Revision
from apps.monitoring.models import FeedbackWindow
from tests import factories

pytestmark = pytest.mark.django_db

CLICK = {"request_id": "r-1", "revision": 1, "metric": "clicked", "value": 1}
SCOPES = ["registry.read", "endpoints.read", "monitoring.feedback"]


@pytest.fixture
def revision() -> Revision:
    return factories.revision()


@pytest.fixture
def shop() -> Client:
    return Client(headers=factories.bearer("contributor", scopes=SCOPES))


def send(client: Client, revision: Revision, *items: Any, raw: str = "", **headers: str) -> Any:
    return client.post(
        f"/api/v1/endpoints/{revision.endpoint.public_id}/feedback",
        raw or json.dumps({"items": items}),
        content_type="application/json",
        headers=headers,
    )


def test_outcomes_are_taken_and_told_how_many(shop: Client, revision: Revision) -> None:
    bought = {**CLICK, "metric": "bought", "value": 12.5, "segment": "eu",
              "at": "2026-01-01T00:00:00+01:00"}  # fmt: skip
    answer = send(shop, revision, CLICK, CLICK, bought, {**CLICK, "revision": 9})
    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "taken": 2, "repeated": 1, "unknown": 1, "unknown_revisions": [9],
    }  # fmt: skip
    rows = FeedbackWindow.objects.order_by("metric").values_list("metric", "segment", "total")
    assert list(rows) == [("bought", "eu", 12.5), ("clicked", "", 1.0)]


def test_a_call_that_is_repeated_by_its_key_is_answered_the_same(
    shop: Client, revision: Revision
) -> None:
    first = send(shop, revision, CLICK, **{"idempotency-key": "k1"})
    again = send(shop, revision, CLICK, **{"idempotency-key": "k1"})
    assert first.json() == again.json()
    assert again["Idempotency-Replayed"] == "true"
    assert send(shop, revision, CLICK).json()["repeated"] == 1


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({**CLICK, "value": "x"}, "items.0.value"),
        ({**CLICK, "metric": "A b"}, "items.0.metric"),
        ({**CLICK, "revision": 0}, "items.0.revision"),
        ({**CLICK, "revision": 2**40}, "items.0.revision"),
        ({**CLICK, "at": "2999-01-01T00:00:00Z"}, "items.0.at"),
        ({**CLICK, "colour": "red"}, "items.0.colour"),
        ({k: v for k, v in CLICK.items() if k != "request_id"}, "items.0.request_id"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(
    shop: Client, revision: Revision, item: dict[str, Any], field: str
) -> None:
    answer = send(shop, revision, item)
    assert answer.status_code == 422, answer.content
    problem = answer.json()
    assert field in {problem["field"], *(e["field"] for e in problem["errors"])}
    assert not FeedbackWindow.objects.exists()


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN"])
def test_a_number_that_is_none_is_refused(shop: Client, revision: Revision, number: str) -> None:
    body = json.dumps({"items": [CLICK]}).replace('"value": 1', f'"value": {number}')
    assert send(shop, revision, raw=body).status_code in (400, 422)
    assert not FeedbackWindow.objects.exists()


@pytest.mark.parametrize("items", [[], [CLICK] * 1001])
def test_a_call_holds_one_to_a_thousand(
    shop: Client, revision: Revision, items: list[Any]
) -> None:
    assert send(shop, revision, *items).status_code == 422


def test_a_viewer_tells_nothing(revision: Revision) -> None:
    viewer = Client(headers=factories.bearer("viewer"))
    assert send(viewer, revision, CLICK).status_code == 403
