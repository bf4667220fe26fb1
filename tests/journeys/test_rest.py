"""One model version by REST: from a file to predictions, and what is refused on the way."""

import httpx
import numpy as np
import pytest

from controlplane.cli import journey, oip, samples
from controlplane.cli.client import Problem

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return samples.breast_cancer(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def served(client, trained):
    return journey.whole(client, "by-rest", trained, team="platform")


def test_the_predictions_are_the_original_models_own(served, trained):
    with httpx.Client(timeout=10) as http:
        answer = oip.predict(
            http, served.endpoint["address"], served.version["inputs"], trained.inputs[:50]
        )
    ours = oip.probabilities(answer, 2)
    np.testing.assert_allclose(ours, trained.expected[:50], atol=1e-4)


def test_the_same_bytes_again_are_the_same_version(client, served, trained):
    again = client.post("/api/v1/models/by-rest/versions", {"upload": client.upload(trained.file)})
    assert again["number"] == served.version["number"]


def test_every_variant_has_a_proof_sheet_or_a_reason(served):
    for variant in served.build["variants"]:
        if variant["state"] == "built":
            assert variant["verdict"] in ("passed", "too_lossy")
            assert variant["bundle_digest"].startswith("sha256:")
            assert variant["p95_ms"] > 0
        else:
            assert variant["reason"]


def test_what_is_served_is_what_was_built(served):
    built = {v["kind"]: v["bundle_digest"] for v in served.build["variants"]}
    assert served.revision["bundle_digest"] == built[served.revision["variant"]]


def test_a_second_revision_takes_over_without_a_failed_request(client, served, trained):
    address, inputs = served.endpoint["address"], served.version["inputs"]
    answer = client.post(
        "/api/v1/endpoints/serve",
        {"model": "by-rest", "version": 1, "environment": "dev", "variant": "onnx"},
    )
    failed, asked = 0, 0
    with httpx.Client(timeout=10) as http:
        while asked < 300 or _state(client, answer) not in ("live", "failed"):
            asked += 1
            try:
                oip.predict(http, address, inputs, trained.inputs[:1])
            except httpx.HTTPError:
                failed += 1
            assert asked < 20_000, "the second revision never settled"
    assert _state(client, answer) == "live"
    assert failed == 0


def _state(client, answer):
    endpoint = client.get(f"/api/v1/endpoints/{answer['endpoint']['id']}")
    number = answer["revision"]["number"]
    return next(r["state"] for r in endpoint["revisions"] if r["number"] == number)


def test_the_ledger_tells_the_story(client, served):
    verbs = {e["verb"] for e in client.pages("/api/v1/audit-events", limit=200)}
    assert {
        "registry.model.create",
        "registry.version.register",
        "builds.start",
        "endpoints.serve",
    } <= verbs


def test_a_file_that_is_no_model_is_refused_in_words(client, tmp_path, served):
    file = tmp_path / "notes.joblib"
    file.write_text("this is not a model")
    with pytest.raises(Problem) as refused:
        client.post("/api/v1/models/by-rest/versions", {"upload": client.upload(file)})
    assert refused.value.status in (409, 422)
    assert refused.value.code.startswith("registry.")


def test_a_stranger_may_not_even_look(stack):
    answer = httpx.get(f"{stack.web}/api/v1/models")
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")
