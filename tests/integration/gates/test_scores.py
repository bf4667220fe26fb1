"""What counts for a version's ML Test Score."""

from datetime import timedelta

import pytest

from apps.environments.models import Environment
from apps.gates import services
from apps.gates.domain.mltest import Score, State
from apps.gates.models import Evidence, GateResult
from apps.gates.scores import ml_test_score
from apps.registry.models import ModelVersion
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from tests import factories

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
DATASET = "sha256:" + "d" * 64


def evidence(
    version: ModelVersion, key: str, verdict: str = "passed", **columns: object
) -> Evidence:
    values = {
        "source": "ci", "measured_at": SystemClock().now() - DAY,
        "subject": version.manifest_digest or "", **columns,
    }  # fmt: skip
    return Evidence.objects.create(
        key=key, version=version, verdict=verdict, sentence="Seen.", recorded_by="ada/ci",
        digest=f"{key} {verdict} {Evidence.objects.count()}", **values,
    )  # fmt: skip


def state(score: Score, key: str) -> State:
    return next(t.state for s in score.sections for t in s.tests if t.test.key == key)


def result(version: ModelVersion, gate: str, verdict: str, age: timedelta = DAY) -> GateResult:
    """Have a checklist that found `verdict` about a gate."""
    variant = factories.variant(version=version)
    checklist = services.open_checklist(
        actor=worker("releases"), version=version, variant=variant,
        environment=Environment.objects.get(slug="dev"),
        configuration={"runtime": "onnxruntime", "replicas": 1, "settings": {}}, proposer_id=None,
    )  # fmt: skip
    at = SystemClock().now() - age
    GateResult.objects.filter(checklist=checklist, gate=gate).update(
        verdict=verdict, sentence="Looked.", measured_at=at, expires_at=at + 30 * DAY,
    )  # fmt: skip
    return GateResult.objects.get(checklist=checklist, gate=gate)


def version(**columns: object) -> ModelVersion:
    return factories.version(files={"m.onnx": b"bytes"}, **columns)  # type: ignore[arg-type]


def test_evidence_of_a_version_counts_for_it_and_for_no_other() -> None:
    ours = version()
    evidence(ours, "mltest.data-1")
    other = factories.version(model=ours.model, files={"m.onnx": b"other"})
    assert state(ml_test_score(ours), "mltest.data-1") is State.AUTOMATIC
    assert state(ml_test_score(other), "mltest.data-1") is State.MISSING


def test_evidence_about_a_dataset_counts_for_every_version_made_from_it() -> None:
    first = version(dataset_digest=DATASET)
    evidence(first, "mltest.data-1", subject=DATASET)
    next_one = factories.version(model=first.model, files={"m.onnx": b"n"}, dataset_digest=DATASET)
    stranger = version(dataset_digest=DATASET)
    assert state(ml_test_score(next_one), "mltest.data-1") is State.AUTOMATIC
    assert state(ml_test_score(stranger), "mltest.data-1") is State.MISSING


def test_what_a_gate_found_counts_without_any_upload() -> None:
    ours = version()
    result(ours, "quality.finite", "passed")
    assert state(ml_test_score(ours), "mltest.monitor-5") is State.AUTOMATIC


def test_what_a_gate_found_later_outweighs_older_evidence() -> None:
    ours = version()
    evidence(ours, "mltest.monitor-5", measured_at=SystemClock().now() - 2 * DAY)
    result(ours, "quality.finite", "failed")
    assert state(ml_test_score(ours), "mltest.monitor-5") is State.FAILED


def test_the_newest_word_of_each_source_is_taken() -> None:
    ours = version()
    evidence(ours, "mltest.data-7", "passed", measured_at=SystemClock().now() - 3 * DAY)
    evidence(ours, "mltest.data-7", "failed")
    evidence(ours, "mltest.data-7", "passed", source="statement")
    assert state(ml_test_score(ours), "mltest.data-7") is State.FAILED


def test_a_score_costs_one_query(django_assert_num_queries: object) -> None:
    ours = version()
    for number in range(1, 8):
        evidence(ours, f"mltest.data-{number}")
    result(ours, "quality.finite", "passed")
    with django_assert_num_queries(1):  # type: ignore[operator]
        ml_test_score(ours)
