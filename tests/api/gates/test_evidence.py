"""REST of evidence, waivers and checklists."""

import io
import json
from typing import Any

import pytest
from django.test import Client

from apps.environments.models import Environment
from apps.gates import services
from apps.gates.models import Checklist, Evidence, GateResult, Waiver
from apps.registry import blobs
from apps.registry.models import ModelVersion, Upload
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> ModelVersion:
    model = factories.model(name="card-fraud", team=factories.team(slug="fraud"))
    return factories.version(model=model, files={"m.onnx": b"bytes"})


@pytest.fixture
def ci() -> Client:
    return Client(headers=factories.bearer("contributor"))


def send(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"/api/v1{path}", json.dumps(body), content_type="application/json")


def push(client: Client, **more: Any) -> Any:
    body = {
        "model": "card-fraud", "version": 1, "key": "mltest.data-1", "verdict": "passed",
        "sentence": "14 of 14 columns hold.", **more,
    }  # fmt: skip
    return send(client, "/evidence", **{k: v for k, v in body.items() if v is not None})


@pytest.mark.usefixtures("version")
def test_evidence_is_sent_read_and_listed(ci: Client) -> None:
    answer = push(ci, facts={"columns": 14}, link="https://gitlab.example.com/1")
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert (body["source"], body["verdict"], body["facts"]) == ("ci", "passed", {"columns": 14})
    assert answer["Location"] == f"/api/v1/evidence/{body['id']}"
    assert ci.get(answer["Location"]).json() == body
    assert ci.get("/api/v1/evidence?model=card-fraud&version=1").json()["results"] == [body]
    assert ci.get("/api/v1/evidence?model=card-fraud&key=mltest.data-2").json()["results"] == []


@pytest.mark.usefixtures("version")
def test_the_same_again_is_recorded_once(ci: Client) -> None:
    first, again = push(ci), push(ci)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert Evidence.objects.count() == 1


@pytest.mark.usefixtures("version")
def test_what_a_person_sends_is_a_statement() -> None:
    browser = Client()
    browser.force_login(factories.person(role="contributor"))
    assert push(browser).json()["source"] == "statement"


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize(
    ("more", "status", "field"),
    [
        ({"model": "nope"}, 404, ""),
        ({"version": 99}, 404, ""),
        ({"version": 0}, 422, "version"),
        ({"key": "mltest.data-99"}, 422, "key"),
        ({"key": "artifact.digest"}, 422, "key"),
        ({"verdict": "unknown"}, 422, "verdict"),
        ({"verdict": None}, 422, "verdict"),
        ({"facts": [1]}, 422, "facts"),
        ({"link": "javascript:alert(1)"}, 422, "link"),
        ({"environment": "mars"}, 404, "environment"),
        ({"measured_at": "2999-01-01T00:00:00Z"}, 422, "measured_at"),
        ({"subject": "sha256:" + "0" * 64}, 422, "subject"),
        ({"files": [{"upload": "nope"}]}, 404, "upload"),
        ({"colour": "red"}, 422, "colour"),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    ci: Client, more: dict[str, Any], status: int, field: str
) -> None:
    answer = push(ci, **more)
    assert answer.status_code == status, answer.content
    problem = answer.json()
    named = {problem.get("field"), *(e["field"] for e in problem["errors"])}
    assert not field or field in named
    assert not Evidence.objects.exists()


@pytest.mark.usefixtures("version")
def test_a_viewer_sends_nothing() -> None:
    assert push(Client(headers=factories.bearer("viewer"))).status_code == 403


@pytest.mark.usefixtures("version")
def test_a_report_is_kept_and_comes_back_as_it_was() -> None:
    owner = factories.person(role="contributor")
    token = {"authorization": f"Bearer {factories.token(owner=owner)[1]}"}
    entry = blobs.put_stream(io.BytesIO(b"<testsuite/>"), path="features.xml")
    upload = Upload.objects.create(
        owner=owner, filename="features.xml", size=entry.size, received=entry.size,
        sha256=entry.sha256, state="complete", expires_at=SystemClock().now(),
    )  # fmt: skip
    answer = push(Client(headers=token), files=[{"upload": upload.public_id}])
    assert answer.status_code == 201, answer.content
    (file,) = answer.json()["files"]
    assert (file["name"], file["sha256"]) == ("features.xml", entry.sha256)
    got = Client(headers=token).get(f"{answer['Location']}/files/features.xml")
    assert b"".join(got.streaming_content) == b"<testsuite/>"  # type: ignore[arg-type]
    assert got["X-Content-Type-Options"] == "nosniff"
    missing = Client(headers=token).get(f"{answer['Location']}/files/other.xml")
    assert (missing.status_code, missing.json()["code"]) == (404, "evidence.no_such_file")


@pytest.mark.usefixtures("version")
def test_nobody_attaches_somebody_elses_upload(ci: Client) -> None:
    other = Upload.objects.create(
        owner=factories.person(), filename="x", size=1, received=1, sha256="0" * 64,
        state="complete", expires_at=SystemClock().now(),
    )  # fmt: skip
    assert push(ci, files=[{"upload": other.public_id}]).status_code == 404


@pytest.fixture
def checklist(version: ModelVersion) -> Checklist:
    variant = factories.variant(version=version)
    return services.open_checklist(
        actor=worker("releases"), version=version, variant=variant,
        environment=Environment.objects.get(slug="production"),
        configuration={"runtime": "onnxruntime", "replicas": 1, "settings": {}}, proposer_id=None,
    )  # fmt: skip


def test_a_checklist_says_how_each_gate_stands(ci: Client, checklist: Checklist) -> None:
    body = ci.get(f"/api/v1/checklists/{checklist.public_id}").json()
    assert (body["model"], body["version"], body["environment"]) == ("card-fraud", 1, "production")
    assert body["verdict"] == "pending"
    assert {g["state"] for g in body["gates"]} == {"pending"}


def test_a_gate_is_looked_at_again(ci: Client, checklist: Checklist) -> None:
    path = f"/checklists/{checklist.public_id}/gates"
    assert send(ci, f"{path}/variant.parity/run").status_code == 202
    missing = send(ci, f"{path}/nope/run")
    assert (missing.status_code, missing.json()["code"]) == (404, "gates.not_listed")


def test_a_waiver_is_granted_listed_and_withdrawn(checklist: Checklist) -> None:
    GateResult.objects.filter(checklist=checklist, gate="quota.fits").update(
        state="failed", verdict="failed", measured_at=SystemClock().now()
    )
    lead = Client(headers=factories.bearer("reviewer"))
    given = {"checklist": checklist.public_id, "gate": "quota.fits", "reason": "Room on Friday."}
    answer = send(lead, "/waivers", **given, days=3)
    assert answer.status_code == 201, answer.content
    waiver = answer.json()
    assert lead.get("/api/v1/waivers?in_force=true").json()["results"] == [waiver]
    gates = lead.get(f"/api/v1/checklists/{checklist.public_id}").json()["gates"]
    assert next(g for g in gates if g["gate"] == "quota.fits")["waiver"] == waiver["id"]
    back = send(lead, f"/waivers/{waiver['id']}/withdraw", reason="There is room.")
    assert back.json()["withdrawn_at"]
    assert lead.get("/api/v1/waivers?in_force=true").json()["results"] == []


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"days": 99}, 422),
        ({"days": 0}, 422),
        ({}, 422),
        ({"days": 1, "expires_at": "2999-01-01T00:00:00Z"}, 422),
        ({"days": 1, "reason": " "}, 422),
        ({"days": 1, "gate": "nope"}, 404),
        ({"days": 1, "checklist": "nope"}, 404),
    ],
)
def test_a_waiver_that_is_wrong_is_refused(
    checklist: Checklist, more: dict[str, Any], status: int
) -> None:
    lead = Client(headers=factories.bearer("reviewer"))
    given = {"checklist": checklist.public_id, "gate": "quota.fits", "reason": "r", **more}
    answer = send(lead, "/waivers", **given)
    assert answer.status_code == status, answer.content
    assert not Waiver.objects.exists()


@pytest.mark.parametrize("path", ["/waivers?in_force=yes", "/evidence?version=x"])
def test_a_filter_that_is_wrong_is_refused(ci: Client, path: str) -> None:
    assert ci.get(f"/api/v1{path}").status_code == 422
