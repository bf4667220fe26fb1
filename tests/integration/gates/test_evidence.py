"""Evidence that pipelines send, and what comes of it."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.gates import selectors, services
from apps.gates.domain.states import GateState
from apps.gates.models import Evidence
from apps.gates.services import Recorded
from apps.registry import blobs
from controlplane.kernel.actor import Actor, ActorKind, Grant, Role
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing
from tests import factories
from tests.gating import Gated, gated

pytestmark = pytest.mark.django_db
CI = Actor(ActorKind.TOKEN, "ada/ci", 1, frozenset({Grant(Role.CONTRIBUTOR)}))
ADA = factories.actor_with("contributor", name="ada")
BETTER = {
    "metrics": [
        {
            "metric": "auc", "value": 0.97, "low": 0.96, "high": 0.98, "baseline": 0.9,
            "slices": [{"name": "new", "value": 0.95, "low": 0.94, "high": 0.96, "baseline": 0.9}],
        }
    ]
}  # fmt: skip


@pytest.fixture
def house(tmp_path: Path, settings: Any) -> Gated:
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "apps.registry.blobs.BlobFolder",
            "OPTIONS": {"location": str(tmp_path / "blobs")},
        },
    }
    return gated(tmp_path)


def send(variant: Any, key: str, *, actor: Actor = CI, **said: Any) -> Recorded:
    version = variant.version
    return services.record_evidence(
        actor=actor, model=version.model.name, version=version.number, key=key, **said
    )


def test_a_pipelines_word_passes_a_gate_that_modelyard_cannot_measure_yet(house: Gated) -> None:
    variant = house.variant()
    checklist = house.open(variant, "rollback.rehearsed")
    house.settle(checklist)
    made = send(
        variant, "rollback.rehearsed", verdict="passed", sentence="Rolled back in 4.2 s.",
        facts={"seconds": 4.2}, link="https://ci.example/1",
    )  # fmt: skip
    house.settle(checklist)
    gate = house.gate(checklist, "rollback.rehearsed")
    assert (gate.state, gate.sentence) == (GateState.PASSED, "Rolled back in 4.2 s.")
    assert gate.evidence == made.evidence
    assert made.evidence.source == "ci"


def test_the_same_evidence_sent_twice_is_one(house: Gated) -> None:
    variant = house.variant()
    said = {"verdict": "passed", "facts": {"seconds": 4}}
    first, again = (send(variant, "rollback.rehearsed", **said) for _ in range(2))
    assert (first.created, again.created) == (True, False)
    assert first.evidence == again.evidence
    assert send(variant, "rollback.rehearsed", verdict="failed", facts={"seconds": 4}).created


def test_metrics_are_judged_by_modelyard_whatever_verdict_was_sent(house: Gated) -> None:
    variant = house.variant()
    checklist = house.open(variant, "quality.better")
    worse = {"metrics": [{**BETTER["metrics"][0], "baseline": 0.99}]}
    assert send(variant, "quality.better", verdict="passed", facts=worse).evidence.verdict == (
        "unknown"
    )
    house.settle(checklist)
    assert house.gate(checklist, "quality.better").state is GateState.FAILED
    send(variant, "quality.better", facts=BETTER)
    house.now = SystemClock().now() + timedelta(seconds=1)
    house.settle(checklist)
    gate = house.gate(checklist, "quality.better")
    assert gate.state is GateState.PASSED, gate.sentence
    assert gate.evidence is not None
    assert {"baseline", "slices"} <= set(gate.evidence.facts)


def test_metrics_against_a_version_that_is_no_longer_live_show_nothing(house: Gated) -> None:
    model = factories.model()
    live = house.variant(model=model)
    house.serve(live, "production")
    variant = house.variant(model=model)
    checklist = house.open(variant, "quality.better")
    metric = {**BETTER["metrics"][0], "live": {"value": 0.9, "low": 0.89, "high": 0.91}}
    send(variant, "quality.better", facts={"metrics": [metric], "live_version": 77})
    house.settle(checklist)
    gate = house.gate(checklist, "quality.better")
    assert gate.state is GateState.UNKNOWN
    assert "compares with v77" in gate.sentence


def test_a_breaking_signature_passes_when_its_consumers_are_named(house: Gated) -> None:
    model = factories.model()
    live = house.variant(
        model=model, version={"inputs": [{"name": "z", "datatype": "FP32", "shape": [-1]}]}
    )
    house.serve(live, "production")
    variant = house.variant(model=model)
    checklist = house.open(variant, "signature.compatible")
    house.settle(checklist)
    assert house.gate(checklist, "signature.compatible").state is GateState.FAILED
    named = [{"name": "checkout", "told_at": "2026-11-01"}]
    facts = {"live_version": live.version.number, "consumers": named}
    send(variant, "signature.compatible", actor=ADA, facts=facts)
    house.settle(checklist)
    gate = house.gate(checklist, "signature.compatible")
    assert gate.state is GateState.PASSED
    assert "checkout" in gate.sentence


@pytest.mark.parametrize(
    ("key", "said", "field"),
    [
        ("nonsense", {}, "key"),
        ("artifact.digest", {"verdict": "passed"}, "key"),
        ("rollback.rehearsed", {"verdict": "fine"}, "verdict"),
        ("rollback.rehearsed", {"verdict": "passed", "facts": {"x": float("nan")}}, "facts"),
        ("rollback.rehearsed", {"verdict": "passed", "facts": {"x": "\ud800"}}, "facts"),
        ("rollback.rehearsed", {"verdict": "passed", "facts": {"x": "\0"}}, "facts"),
        ("rollback.rehearsed", {"verdict": "passed", "facts": [1]}, "facts"),
        ("rollback.rehearsed", {"verdict": "passed", "link": "javascript:alert(1)"}, "link"),
        ("rollback.rehearsed", {"verdict": "passed", "subject": "sha256:0"}, "subject"),
        ("rollback.rehearsed", {"verdict": "passed", "sentence": "x" * 3000}, "sentence"),
        ("quality.better", {"facts": {"metrics": []}}, "facts.metrics"),
        (
            "quality.better",
            {"facts": {"metric": "auc", "value": 2, "low": 0, "high": 1}},
            "facts.metrics[0]",
        ),
        ("artifact.licences", {"facts": {"licences": {"numpy": 3}}}, "facts.licences"),
        ("signature.compatible", {"facts": {"live_version": 3}}, "facts.consumers"),
        ("model.fresh", {"facts": {"data_until": "yesterday"}}, "facts.data_until"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    house: Gated, key: str, said: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        send(house.variant(), key, **said)
    assert caught.value.field == field
    assert caught.value.remedy
    assert not Evidence.objects.exists()


def test_a_time_in_the_future_or_without_a_zone_is_refused(house: Gated) -> None:
    variant = house.variant()
    now = SystemClock().now()
    for said in (
        {"measured_at": now + timedelta(hours=1)},
        {"measured_at": now.replace(tzinfo=None)},
        {"measured_at": now, "expires_at": now - timedelta(days=1)},
    ):
        with pytest.raises(Invalid):
            send(variant, "rollback.rehearsed", verdict="passed", **said)


def test_a_persons_word_does_not_stand_for_a_measurement(house: Gated) -> None:
    with pytest.raises(Invalid, match="somebody's word"):
        send(house.variant(), "rollback.rehearsed", actor=ADA, verdict="passed")


def test_a_persons_word_counts_for_the_tests_that_are_a_matter_of_it(house: Gated) -> None:
    made = send(house.variant(), "mltest.data-5", actor=ADA, verdict="passed", sentence="Read.")
    assert made.evidence.source == "statement"


def test_a_viewer_sends_nothing(house: Gated) -> None:
    with pytest.raises(Denied):
        send(
            house.variant(), "mltest.data-1", actor=factories.actor_with("viewer"),
            verdict="passed",
        )  # fmt: skip


def test_evidence_about_files_that_have_not_arrived_waits(house: Gated) -> None:
    version = factories.version()
    with pytest.raises(Conflict, match="on their way"):
        services.record_evidence(
            actor=CI, model=version.model.name, version=version.number, key="mltest.data-1",
            verdict="passed",
        )  # fmt: skip


def test_files_are_kept_as_long_as_evidence_names_them(house: Gated) -> None:
    variant = house.variant()
    entry = services.keep_file(actor=CI, name="plot.png", stream=io.BytesIO(b"a plot"))
    made = send(variant, "mltest.data-1", verdict="passed", files=[entry])
    assert made.evidence.files == [
        {"name": "plot.png", "sha256": entry.sha256, "size": entry.size}
    ]
    later = SystemClock().now() + timedelta(days=9)
    blobs.drop_unused(now=later, named=selectors.kept_files())
    assert blobs.exists(entry.sha256)


def test_a_file_that_was_never_sent_is_refused(house: Gated) -> None:
    with pytest.raises(Missing, match="not in the store"):
        send(
            house.variant(), "mltest.data-1", verdict="passed",
            files=[FileEntry("x", "0" * 64, 1)],
        )  # fmt: skip


def test_old_evidence_is_not_taken_for_new(house: Gated) -> None:
    variant = house.variant()
    checklist = house.open(variant, {"gate": "rollback.rehearsed", "max_age_days": 7})
    old = SystemClock().now() - timedelta(days=8)
    send(variant, "rollback.rehearsed", verdict="passed", measured_at=old)
    house.settle(checklist)
    assert house.gate(checklist, "rollback.rehearsed").state is GateState.UNKNOWN


def test_evidence_about_another_environment_does_not_count_here(house: Gated) -> None:
    variant = house.variant()
    checklist = house.open(variant, "rollback.rehearsed")
    send(variant, "rollback.rehearsed", verdict="passed", environment="staging")
    house.settle(checklist)
    assert house.gate(checklist, "rollback.rehearsed").state is GateState.UNKNOWN
