"""The OpenAPI document: current, sound, and true when the API is tried against it."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from controlplane.http.api_docs import document, generated
from controlplane.project.management.commands.openapi import FILE
from tests import database, factories
from tests.api.house import House, build

EXAMPLES = 6
WRONG = defaultdict(lambda: "no such thing", number=0)


def test_the_committed_document_is_current() -> None:
    assert FILE.read_bytes() == document(), "The API changed: run `make docs` and read the diff."


def test_every_operation_has_a_name_a_summary_and_its_problems() -> None:
    names = []
    for path, verbs in generated()["paths"].items():
        for verb, operation in verbs.items():
            names.append(operation["operationId"])
            assert operation["summary"], (verb, path)
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            if verb == "post":
                headers = [p["name"] for p in operation["parameters"] if p["in"] == "header"]
                assert headers == ["Idempotency-Key"], path
    assert len(names) == len(set(names))
    assert generated()["openapi"].startswith("3.1")


@pytest.mark.django_db
def test_anybody_may_read_the_document(client: Client) -> None:
    response = client.get("/api/v1/openapi.json")
    assert response.status_code == 200
    assert response.json()["info"]["title"] == "Modelyard"


# --- trying every operation with what the document allows ---------------------------------------


@pytest.fixture(scope="module")
def house(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[House]:
    """Build one house for all operations: every try is rolled back."""
    with database.shared(django_db_blocker, build) as made:
        yield made


@pytest.fixture
def one_connection() -> Iterator[None]:
    """Keep requests on the test's own connection and inside its transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def operations() -> list[Any]:
    schema = schemathesis.openapi.from_dict(json.loads(document()))
    schema.app = get_wsgi_application()
    return [found.ok() for found in schema.get_all_operations()]


OPERATIONS = operations()


@pytest.mark.django_db
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method} {o.path}")
def test_no_request_makes_us_fault(operation: Any, one_connection: None, house: House) -> None:
    owner = factories.person(role="admin")
    _, secret = factories.token(owner=owner)
    known = {
        name: st.sampled_from([int(value) if name == "number" else value] * 3 + [WRONG[name]])
        for name, value in house.values.items()
    }

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def attempt(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy())
        for parameter in case.path_parameters:
            case.path_parameters[parameter] = data.draw(known[parameter])
        with transaction.atomic():
            response = case.call(headers={"Authorization": f"Bearer {secret}"})
            transaction.set_rollback(True)
        assert response.status_code != 500, response.text
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]
            problem = response.json()
            assert problem["detail"]
            assert problem["code"]

    attempt()
