"""Passes over checklists: real rows, real bundles; servers and load in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from apps.audit.models import AuditEvent
from apps.builds.models import Variant
from apps.endpoints.models import Revision
from apps.gates import selectors, services
from apps.gates.domain.evaluate import ChecklistVerdict
from apps.gates.domain.finding import Verdict
from apps.gates.domain.states import GateState
from apps.gates.listing import wake
from apps.gates.models import Checklist, Evidence, GateResult
from apps.gates.reconcile import tidy_load_tests
from apps.gates.services import close_checklist
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Transient
from tests import factories
from tests.gating import RELEASES, Gated, evidence_count, gated, put_policy

pytestmark = pytest.mark.django_db
BYTES = ("artifact.scanned", "artifact.digest", "variant.parity", "artifact.dependencies")


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


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


def test_gates_about_bytes_are_measured_one_after_the_other_and_pass(house: Gated) -> None:
    checklist = house.open(house.variant(), *BYTES)
    standing = house.settle(checklist)
    assert standing.verdict is ChecklistVerdict.PASSED, standing.blocking
    digest = house.gate(checklist, "artifact.digest")
    assert digest.evidence is not None
    assert digest.evidence.facts["bytes_read"] > 0
    assert digest.evidence.subject == checklist.variant.bundle_digest


def test_a_bundle_that_somebody_changed_on_disk_fails(house: Gated) -> None:
    variant = house.variant()
    blobs = house.bundles.root / "blobs" / "sha256"
    target = next(p for p in blobs.iterdir() if p.read_bytes().startswith(b"the model"))
    target.write_bytes(b"THE MODEL")
    gate = settled(house, variant, "artifact.digest")
    assert gate.state is GateState.FAILED
    assert "damaged" in gate.sentence
    assert gate.remedy


def test_a_version_whose_own_file_was_changed_fails(house: Gated, tmp_path: Path) -> None:
    variant = house.variant()
    file = next(p for p in (tmp_path / "blobs").rglob("*") if p.is_file())
    file.chmod(0o644)
    file.write_bytes(b"something else")
    gate = settled(house, variant, "artifact.digest")
    assert gate.state is GateState.FAILED
    assert "model.onnx of the version" in gate.sentence


def test_evidence_about_the_same_bytes_is_carried_to_another_environment(house: Gated) -> None:
    variant = house.variant()
    first = house.open(variant, *BYTES, environment="staging")
    house.settle(first)
    second = house.open(variant, *BYTES)
    house.settle(second)
    for gate in BYTES:
        assert house.gate(second, gate).evidence == house.gate(first, gate).evidence, gate
    assert evidence_count("artifact.digest") == 1


def test_a_gate_that_nobody_can_measure_yet_is_unknown_and_says_so(house: Gated) -> None:
    checklist = house.open(house.variant(), "runbook.fresh")
    standing = house.settle(checklist)
    assert standing.verdict is ChecklistVerdict.UNKNOWN
    assert standing.gates[0].sentence == "Not measured yet."
    assert standing.gates[0].evidence is None


def test_golden_requests_are_asked_of_a_server_on_trial_as_well(house: Gated) -> None:
    variant = house.variant()
    served = house.serve(variant)
    Revision.objects.filter(pk=served.pk).update(state="shifting", observed_weight=5)
    checklist = house.open(variant, "golden.answered")
    house.settle(checklist)
    assert house.states(checklist) == {"golden.answered": "passed"}


def test_a_load_test_says_that_it_waits_while_a_rollout_shares_the_requests(house: Gated) -> None:
    variant = house.variant()
    served = house.serve(variant)
    house.promise(variant.version.model)
    Revision.objects.filter(pk=served.pk).update(observed_weight=95)
    checklist = house.open(variant, "load.objective")
    found = house.settle(checklist).gates[0]
    assert found.sentence.endswith(
        "answers only 95 % of the requests, while a rollout moves traffic there."
    )


def test_what_a_rollout_showed_is_taken_up_at_once_and_judged_again_each_time(
    house: Gated,
) -> None:
    variant = house.variant()
    checklist = house.open(variant, "rollback.rehearsed")
    house.settle(checklist)
    assert house.states(checklist) == {"rollback.rehearsed": "unknown"}
    for _ in range(2):
        shown = services.record_measured(
            actor=worker("rollouts"), version=variant.version, key="rollback.rehearsed",
            subject=variant.bundle_digest, verdict=Verdict.PASSED, sentence="Back in 0.4 s.",
            facts={"seconds": 0.4}, measured_at=house.now,
        )  # fmt: skip
    house.settle(checklist)
    found = house.gate(checklist, "rollback.rehearsed")
    assert (found.state, found.evidence.pk) == (GateState.PASSED, shown.pk)
    house.now += timedelta(days=1)
    house.settle(checklist)
    assert house.gate(checklist, "rollback.rehearsed").state is GateState.PASSED
    assert evidence_count("rollback.rehearsed") == 1


def test_a_servers_silence_leaves_one_gate_unknown_and_the_others_go_on(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)

    def silent(call: str) -> None:
        raise Transient("No replica is ready.")

    house.servers.hook = silent
    checklist = house.open(variant, "golden.answered", "quota.fits")
    house.settle(checklist)
    assert house.states(checklist) == {"golden.answered": "unknown", "quota.fits": "passed"}
    house.servers.hook = lambda call: None
    house.now += timedelta(minutes=3)
    house.settle(checklist)
    assert house.states(checklist)["golden.answered"] == "passed"


def test_golden_requests_are_asked_outside_protected_environments_only(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant, "production")
    factories.endpoint(environment="production").environment.__class__.objects.filter(
        slug="production"
    ).update(protected=True)
    gate = settled(house, variant, "golden.answered")
    assert gate.state is GateState.UNKNOWN
    assert "No environment outside the protected ones" in gate.sentence


def test_a_wrong_golden_answer_fails(house: Gated) -> None:
    variant = house.variant()
    row = house.serve(variant)
    house.servers.wrong = {row.number}
    gate = settled(house, variant, "golden.answered")
    assert gate.state is GateState.FAILED
    assert "2 of 3" in gate.sentence


def test_a_load_test_runs_by_itself_and_its_numbers_are_kept(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)
    house.promise(variant.version.model)
    gate = settled(house, variant, "load.objective")
    assert gate.state is GateState.PASSED, gate.sentence
    assert gate.evidence is not None
    assert gate.evidence.facts["goal"]["rate"] == 60.0
    assert sum(gate.evidence.facts["histogram"]) == gate.evidence.facts["answered"]
    assert house.load.names() == []  # what the test left is dropped


def test_a_load_test_that_misses_the_objective_fails(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)
    house.promise(variant.version.model, latency_ms=1.0)
    gate = settled(house, variant, "load.objective")
    assert gate.state is GateState.FAILED
    assert "The objective asks for" in gate.sentence


def test_another_objective_is_another_question(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)
    objective = house.promise(variant.version.model)
    checklist = house.open(variant, "load.objective")
    house.settle(checklist)
    objective.expected_peak_rps = 80
    objective.save()
    house.now += timedelta(minutes=10)
    house.settle(checklist)
    gate = house.gate(checklist, "load.objective")
    assert gate.evidence is not None
    assert gate.evidence.facts["goal"]["rate"] == 120.0
    assert len(house.load.started) == 2


def test_a_load_test_is_not_run_where_more_replicas_would_flatter(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant, replicas=3)
    house.promise(variant.version.model)
    gate = settled(house, variant, "load.objective")
    assert gate.state is GateState.UNKNOWN
    assert "3 replicas, not 1" in gate.sentence


def test_a_test_of_a_closed_checklist_is_ended(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)
    house.promise(variant.version.model)
    house.load.looks = 1000
    checklist = house.open(variant, "load.objective")
    house.step(checklist)
    house.step(checklist)
    assert len(house.load.names()) == 1
    close_checklist(actor=RELEASES, checklist=checklist)
    house.step(checklist)
    assert house.load.names() == []
    assert Checklist.objects.get(pk=checklist.pk).next_reconcile_at is None


def test_a_test_that_nobody_waits_for_is_tidied_away(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)
    house.promise(variant.version.model)
    house.load.looks = 1000
    checklist = house.open(variant, "load.objective")
    house.step(checklist)
    GateResult.objects.update(handle="")
    assert tidy_load_tests(house.load) == 1
    assert house.load.names() == []


def test_what_is_live_changes_the_answer_about_its_callers(house: Gated) -> None:
    model = factories.model()
    variant = house.variant(model=model)
    checklist = house.open(variant, "signature.compatible")
    house.settle(checklist)
    assert house.gate(checklist, "signature.compatible").state is GateState.PASSED
    other = {"name": "x", "datatype": "FP64", "shape": [-1, 2]}
    live = house.variant(model=model, version={"inputs": [other]})
    house.serve(live, "production")
    house.now += timedelta(minutes=11)
    house.settle(checklist)
    gate = house.gate(checklist, "signature.compatible")
    assert gate.state is GateState.FAILED
    assert "Input x is FP32 instead of FP64." in gate.sentence


def test_another_policy_is_followed_and_what_is_known_stays(house: Gated) -> None:
    variant = house.variant()
    checklist = house.open(variant, "artifact.scanned", "variant.parity")
    house.settle(checklist)
    tier = variant.version.model.risk_tier
    newer = put_policy("production", tier, [{"gate": "variant.parity"}, {"gate": "card.complete"}])
    wake([checklist.pk], house.now)
    house.settle(checklist)
    assert house.states(checklist) == {"variant.parity": "passed", "card.complete": "failed"}
    assert Checklist.objects.get(pk=checklist.pk).policy == newer
    assert evidence_count("variant.parity") == 1
    assert AuditEvent.objects.filter(verb="gates.checklist.follow").exists()


def test_a_finding_is_renewed_before_it_is_too_old_and_never_lapses(house: Gated) -> None:
    checklist = house.open(house.variant(), "artifact.digest")
    house.settle(checklist)
    end = house.now + timedelta(days=30)
    while house.now < end:
        house.now += timedelta(hours=6)
        house.step(checklist)
        assert house.states(checklist) == {"artifact.digest": "passed"}
        assert house.standing(checklist).verdict is ChecklistVerdict.PASSED
    assert 4 <= evidence_count("artifact.digest") <= 7


def test_a_finding_that_cannot_be_renewed_is_unknown_once_it_is_too_old(house: Gated) -> None:
    variant = house.variant()
    row = house.serve(variant)
    checklist = house.open(variant, {"gate": "golden.answered", "max_age_days": 2})
    house.settle(checklist)
    row.state, row.ended_at = "retired", house.now
    row.save()
    seen = []
    end = house.now + timedelta(days=3)
    while house.now < end:
        house.now += timedelta(hours=1)
        house.step(checklist)
        seen.append((house.now, house.states(checklist)["golden.answered"]))
    passed_until = max(at for at, state in seen if state == "passed")
    assert seen[-1][1] == "unknown"
    assert timedelta(days=1.9) < passed_until - (end - timedelta(days=3)) <= timedelta(days=2)


def test_a_gate_that_is_gone_from_the_catalogue_is_unknown_and_says_what_to_do(
    house: Gated,
) -> None:
    checklist = house.open(house.variant(), "variant.parity", "of.an.older.modelyard")
    standing = house.settle(checklist)
    assert standing.verdict is ChecklistVerdict.UNKNOWN
    assert standing.blocking[0].sentence == "This gate does not exist any more."
    assert "out of the policy" in standing.blocking[0].remedy


def test_dependencies_and_licences_are_read_from_the_lock_file(house: Gated) -> None:
    variant = house.variant()
    pinned = f"joblib=={metadata.version('joblib')}\n"
    locked(house, variant, pinned)
    checklist = house.open(variant, "artifact.dependencies", "artifact.licences")
    house.settle(checklist)
    assert set(house.states(checklist).values()) == {"passed"}
    licences = house.gate(checklist, "artifact.licences")
    assert licences.evidence is not None
    assert licences.evidence.facts["licences"] == {"joblib": "BSD-3-Clause"}


def test_a_package_that_is_not_pinned_fails_and_an_unknown_licence_is_unknown(
    house: Gated,
) -> None:
    variant = house.variant()
    locked(house, variant, "joblib>=1\nno-such-package==1.0\n")
    checklist = house.open(variant, "artifact.dependencies", "artifact.licences")
    house.settle(checklist)
    assert house.states(checklist) == {
        "artifact.dependencies": "failed",
        "artifact.licences": "unknown",
    }
    sentence = house.gate(checklist, "artifact.licences").sentence
    assert sentence == "The licence of joblib, no-such-package is not known."


def test_a_person_wins_over_a_worker_in_the_middle_of_a_pass(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)
    checklist = house.open(variant, "golden.answered")
    lead = factories.person(role="reviewer")

    def waive(call: str) -> None:
        house.servers.hook = lambda call: None
        services.grant_waiver(
            actor=factories.actor_of(lead), checklist=checklist.public_id,
            gate="golden.answered", reason="The server is being moved.",
            expires_at=SystemClock().now() + timedelta(days=1),
        )  # fmt: skip

    house.servers.hook = waive
    house.step(checklist)
    assert house.states(checklist) == {"golden.answered": "waived"}  # the worker wrote nothing
    assert evidence_count("golden.answered") == 0
    house.settle(checklist)
    assert house.states(checklist) == {"golden.answered": "passed"}


def test_a_quiet_checklist_writes_nothing(house: Gated) -> None:
    checklist = house.open(house.variant(), "artifact.scanned", "card.complete", "quota.fits")
    house.settle(checklist)
    before = (AuditEvent.objects.count(), Evidence.objects.count())
    for _ in range(10):
        house.step(checklist)
    assert (AuditEvent.objects.count(), Evidence.objects.count()) == before


def test_asking_again_keeps_what_is_passed_until_something_else_is_found(house: Gated) -> None:
    variant = house.variant()
    house.serve(variant)
    checklist = house.open(variant, "golden.answered")
    house.settle(checklist)
    old = house.gate(checklist, "golden.answered").evidence
    admin = factories.actor_with("admin")
    view = services.run_gate_again(
        actor=admin, checklist=checklist.public_id, gate="golden.answered"
    )
    assert view.state is GateState.PASSED
    GateResult.objects.update(asked_at=house.now)  # our clock runs ahead of the system's
    asked = len(house.servers.calls)
    house.now += timedelta(seconds=1)
    house.settle(checklist)
    assert len(house.servers.calls) == asked + 1  # it was really asked, evidence or not
    assert old is not None
    assert house.gate(checklist, "golden.answered").state is GateState.PASSED


def test_what_fails_is_told_to_the_proposer(house: Gated) -> None:
    proposer = factories.person(role="contributor")
    checklist = house.open(house.variant(), "card.complete", proposer_id=proposer.pk)
    house.settle(checklist)
    titles = [n.title for n in proposer.notifications.all()]
    assert len(titles) == 1
    assert "card.complete" in titles[0]


def test_a_checklist_is_gone_over_in_a_bounded_number_of_queries(
    house: Gated, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    checklist = house.open(house.variant(), "artifact.scanned", "card.complete", "variant.parity")
    house.settle(checklist)
    house.now += timedelta(minutes=11)
    with django_assert_max_num_queries(20):
        house.step(checklist)


@pytest.mark.parametrize("point", range(1, 64, 3))
def test_wherever_the_worker_dies_the_end_is_the_same(house: Gated, point: int) -> None:
    variant = house.variant()
    house.serve(variant)
    house.promise(variant.version.model)
    gates = ("artifact.scanned", "artifact.digest", "golden.answered", "load.objective")
    checklist = house.open(variant, *gates)
    died = False
    with dying_at(point, house):
        try:
            house.settle(checklist)
        except Died:
            died = True
    standing = house.settle(checklist)
    assert standing.verdict is ChecklistVerdict.PASSED, (died, standing.blocking)
    for gate in gates:
        assert evidence_count(gate) == 1, gate
    assert house.load.names() == [] or died
    tidy_load_tests(house.load)
    assert house.load.names() == []
    assert len(house.load.started) <= 2


@contextmanager
def dying_at(point: int, house: Gated) -> Iterator[None]:
    """Kill the worker at the n-th write to the database or call to the world."""
    left = point

    def tick(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Died

    def wrapper(execute: Any, sql: Any, *rest: Any) -> Any:
        if str(sql).lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "RELEASE")):
            tick()
        return execute(sql, *rest)

    house.servers.hook = house.load.hook = tick
    with connection.execute_wrapper(wrapper):
        yield
    house.servers.hook = house.load.hook = lambda call: None


def locked(house: Gated, variant: Variant, text: str) -> None:
    """Give a variant a bundle with a lock file."""
    folder = house.bundles.root.parent / "locked"
    folder.mkdir()
    (folder / "requirements.lock").write_text(text)
    variant.bundle_digest = house.bundles.write(
        {"requirements.lock": folder / "requirements.lock"},
        {"schema": 1, "requirements": "requirements.lock"},
    )
    variant.save()


def settled(house: Gated, variant: Any, gate: str) -> selectors.GateView:
    checklist = house.open(variant, gate)
    house.settle(checklist)
    return house.gate(checklist, gate)
