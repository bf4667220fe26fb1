"""REST of policies and of the ML Test Score."""

import json
from typing import Any

import pytest
import yaml
from django.test import Client

from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.models import Evidence, Policy
from controlplane.kernel.clock import SystemClock
from tests import factories

pytestmark = pytest.mark.django_db
SMALL: dict[str, Any] = {
    "gates": [{"gate": "artifact.scanned", "max_age_days": 7}],
    "approvals": {"seats": [{"title": "Operations", "roles": ["operator"], "team": None}]},
}


@pytest.fixture
def admin() -> Client:
    return Client(headers=factories.bearer("admin"))


def send(client: Client, method: str, path: str, body: Any, **headers: str) -> Any:
    return client.generic(
        method,
        f"/api/v1{path}",
        json.dumps(body),
        content_type="application/json",
        headers=headers,
    )


def test_the_policies_in_force_are_listed_once_each(admin: Client) -> None:
    send(admin, "PUT", "/policies/dev/low", {"document": SMALL, "reason": "Less."})
    rows = admin.get("/api/v1/policies?limit=50").json()["results"]
    assert len(rows) == 12
    assert {
        (r["number"]) for r in rows if (r["environment"], r["risk_tier"]) == ("dev", "low")
    } == {2}
    only = admin.get("/api/v1/policies?environment=production&risk_tier=high").json()["results"]
    assert [(r["environment"], r["risk_tier"]) for r in only] == [("production", "high")]


def test_a_policy_is_written_and_read(admin: Client) -> None:
    answer = send(
        admin, "PUT", "/policies/production/medium", {"document": SMALL, "reason": "Less to ask."}
    )
    assert answer.status_code == 201, answer.content
    assert answer.json()["is_new"]
    read = admin.get("/api/v1/policies/production/medium")
    assert read.json() == answer.json()["policy"]
    assert read.json()["number"] == 2
    assert read.json()["document"]["emergency"]["allowed"] is False
    again = send(admin, "PUT", "/policies/production/medium", {"document": SMALL, "reason": "x"})
    assert (again.status_code, again.json()["is_new"]) == (200, False)
    first = admin.get("/api/v1/policies/production/medium?number=1").json()
    assert len(first["document"]["gates"]) == len(CATALOGUE) - 1  # no minimum score
    history = admin.get("/api/v1/policies/production/medium/versions").json()["results"]
    assert [row["number"] for row in history] == [2, 1]


def test_a_fault_in_the_document_is_named_by_its_place(admin: Client) -> None:
    wrong = {**SMALL, "gates": [{"gate": "artifact.scanned", "max_age_days": -1}]}
    answer = send(admin, "PUT", "/policies/dev/low", {"document": wrong, "reason": "r"})
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["code"], problem["field"]) == ("policy.invalid", "gates[0].max_age_days")
    assert problem["detail"] == "gates[0].max_age_days is -1."
    assert problem["remedy"] == "Write a number of days above 0, at most 3650."


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/policies/mars/low", 404, "environments.missing"),
        ("/policies/dev/huge", 422, "policy.unknown_tier"),
        ("/policies/dev/low?number=99", 404, "policy.missing"),
        ("/policies/dev/low?number=x", 422, "request.number"),
        ("/policies/dev/low?format=xml", 422, "request.unknown_format"),
        ("/policies?environment=mars", 404, "environments.missing"),
        ("/ml-test-score", 422, "gates.which_version"),
        ("/ml-test-score?model=nope&version=1", 404, "registry.no_such_model"),
    ],
)
def test_what_is_not_there_is_said(admin: Client, path: str, status: int, code: str) -> None:
    answer = admin.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content


def test_whoever_read_an_older_version_writes_nothing(admin: Client) -> None:
    tag = admin.get("/api/v1/policies/dev/low")["ETag"]
    other = {**SMALL, "minimum_score": 1}
    send(admin, "PUT", "/policies/dev/low", {"document": SMALL, "reason": "First."})
    late = send(
        admin, "PUT", "/policies/dev/low", {"document": other, "reason": "r"}, **{"If-Match": tag}
    )
    assert late.status_code == 412
    based = send(admin, "PUT", "/policies/dev/low", {"document": other, "reason": "r", "base": 1})
    assert (based.status_code, based.json()["code"]) == (409, "policy.changed_meanwhile")
    assert Policy.objects.filter(environment__slug="dev", risk_tier="low").count() == 2


def test_everything_is_exported_as_one_file_that_is_taken_back(admin: Client) -> None:
    answer = admin.get("/api/v1/policies?format=yaml")
    assert answer["Content-Type"].startswith("application/yaml")
    text = answer.content.decode()
    assert len(yaml.safe_load(text)["policies"]) == 12
    again = send(admin, "POST", "/policies", {"yaml": text, "reason": "Nothing new."})
    assert again.status_code == 200, again.content
    assert [r["is_new"] for r in again.json()["results"]] == [False] * 12
    changed = text.replace("longest_days: 7", "longest_days: 2")
    third = send(admin, "POST", "/policies", {"yaml": changed, "reason": "Shorter."})
    assert [r["policy"]["number"] for r in third.json()["results"] if r["is_new"]] == [2]


def test_one_policy_is_exported_and_taken_back(admin: Client) -> None:
    text = admin.get("/api/v1/policies/production/high?format=yaml").content.decode()
    assert yaml.safe_load(text)["risk_tier"] == "high"
    answer = send(admin, "POST", "/policies", {"yaml": text, "reason": "Same."})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"yaml": "a: [", "reason": "r"}, "policy.invalid"),
        ({"yaml": "a: &a [1]\nb: *a", "reason": "r"}, "policy.invalid"),
        ({"reason": "r"}, "policy.invalid"),
        ({"yaml": "x: 1", "policies": [], "reason": "r"}, "policy.invalid"),
        ({"policies": "x", "reason": "r"}, "policy.invalid"),
        ({"yaml": "policies: []", "reason": "r"}, "policy.invalid"),
        ({"yaml": "policies: []"}, "request.invalid"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(
    admin: Client, body: dict[str, Any], code: str
) -> None:
    answer = send(admin, "POST", "/policies", body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.content


def test_a_dry_run_saves_nothing_and_says_what_would_change(admin: Client) -> None:
    before = Policy.objects.count()
    answer = send(
        admin,
        "POST",
        "/policies/dry-run",
        {"environment": "production", "risk_tier": "medium", "document": SMALL},
    )
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["stopped"], body["let_through"], body["checklists"]) == (0, 0, [])
    assert "variant.parity is no longer asked for (it was required)." in body["changes"]
    assert Policy.objects.count() == before


def test_an_operator_reads_policies_and_writes_none() -> None:
    operator = Client(headers=factories.bearer("operator"))
    assert operator.get("/api/v1/policies/production/high").status_code == 200
    body = {"document": SMALL, "reason": "r"}
    assert send(operator, "PUT", "/policies/production/high", body).status_code == 403
    answer = send(
        operator, "POST", "/policies/dry-run",
        {"environment": "production", "risk_tier": "high", "document": SMALL},
    )  # fmt: skip
    assert answer.status_code == 403


def test_the_catalogue_says_what_each_gate_checks(admin: Client) -> None:
    rows = admin.get("/api/v1/gates").json()["results"]
    assert {row["name"] for row in rows} == set(CATALOGUE)
    assert all(row["checks"] and row["remedy"] for row in rows)


def test_the_score_of_a_version_counts_its_evidence(admin: Client) -> None:
    version = factories.version(files={"m.onnx": b"bytes"})
    path = f"/api/v1/ml-test-score?model={version.model.name}&version={version.number}"
    nothing = admin.get(path).json()
    assert (nothing["score"], len(nothing["weakest"])) == (0, 4)
    for section in ("data", "model", "infra", "monitor"):
        Evidence.objects.create(
            key=f"mltest.{section}-1", subject=version.manifest_digest, version=version,
            verdict="passed", sentence="The schema held.", source="ci",
            measured_at=SystemClock().now(), recorded_by="ci", digest=f"sha256:{section}",
        )  # fmt: skip
    one = admin.get(path).json()
    assert one["score"] == 1
    assert one["band"].startswith("Not totally untested")
    first = one["sections"][0]["tests"][0]
    assert (first["state"], first["sentence"]) == ("automatic", "The schema held.")
