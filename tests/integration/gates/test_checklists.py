from datetime import timedelta

import pytest

from apps.environments.models import Environment
from apps.gates import selectors, services
from apps.gates.domain.evaluate import ChecklistVerdict
from apps.gates.domain.states import GateState
from apps.gates.models import Checklist, Evidence, GateResult, Policy
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid
from tests import factories

pytestmark = pytest.mark.django_db
ACTOR = worker("releases")


def policy(*gates: dict[str, object], environment: str = "production") -> Policy:
    where = Environment.objects.get(slug=environment)
    newest = Policy.objects.filter(environment=where, risk_tier="medium").order_by("-number")
    return Policy.objects.create(
        environment=where,
        risk_tier="medium",
        number=(newest[0].number if newest else 0) + 1,
        document={"gates": list(gates), "approvals": {"seats": []}},
        created_by="test",
    )


def opened(**columns: object) -> Checklist:
    variant = factories.variant()
    return services.open_checklist(
        actor=ACTOR,
        version=variant.version,
        variant=variant,
        environment=Environment.objects.get(slug="production"),
        configuration={"runtime": "onnxruntime", "replicas": 2, "settings": {}},
        proposer_id=None,
        **columns,  # type: ignore[arg-type]
    )


def know(checklist: Checklist, gate: str, verdict: str, **columns: object) -> None:
    now = SystemClock().now()
    evidence = Evidence.objects.create(
        key=gate, subject=checklist.variant.bundle_digest, version=checklist.version,
        verdict=verdict, sentence="Seen.", source="measured", measured_at=now,
        recorded_by="test", digest=f"{gate}{verdict}{now.timestamp()}",
    )  # fmt: skip
    GateResult.objects.filter(checklist=checklist, gate=gate).update(
        **{
            "state": verdict, "verdict": verdict, "sentence": "Seen.", "evidence": evidence,
            "measured_at": now, "expires_at": now + timedelta(days=1), **columns,
        }
    )  # fmt: skip


def test_a_new_checklist_lists_the_policys_gates_in_its_order_and_is_pending() -> None:
    policy({"gate": "variant.parity"}, {"gate": "artifact.scanned", "required": False})
    standing = selectors.standing(opened())
    assert [(g.gate, g.required) for g in standing.gates] == [
        ("variant.parity", True),
        ("artifact.scanned", False),
    ]
    assert standing.verdict is ChecklistVerdict.PENDING
    assert [g.gate for g in standing.blocking] == ["variant.parity"]
    assert standing.signed == {"variant.parity": "pending", "artifact.scanned": "pending"}


def test_an_advisory_gate_does_not_stop_a_release() -> None:
    policy({"gate": "variant.parity"}, {"gate": "artifact.scanned", "required": False})
    checklist = opened()
    know(checklist, "variant.parity", "passed")
    know(checklist, "artifact.scanned", "failed")
    standing = selectors.standing(checklist)
    assert standing.verdict is ChecklistVerdict.PASSED
    assert standing.blocking == ()


def test_what_was_passed_is_unknown_from_the_moment_it_is_too_old() -> None:
    policy({"gate": "variant.parity"})
    checklist = opened()
    know(checklist, "variant.parity", "passed")
    later = SystemClock().now() + timedelta(days=1, seconds=1)
    assert selectors.standing(checklist).verdict is ChecklistVerdict.PASSED
    standing = selectors.standing(checklist, now=later)
    assert standing.verdict is ChecklistVerdict.UNKNOWN
    assert standing.blocking[0].sentence == "Too old: Seen."


def test_another_variant_forgets_what_was_known_of_the_first() -> None:
    policy({"gate": "variant.parity"})
    checklist = opened()
    know(checklist, "variant.parity", "passed")
    other = factories.variant(build=checklist.variant.build, kind="onnx-optimised")
    changed = services.reconfigure(
        actor=ACTOR, checklist=checklist, variant=other, configuration=checklist.configuration
    )
    gate = selectors.standing(changed).gates[0]
    assert (gate.state, gate.evidence) == (GateState.PENDING, None)


def test_another_configuration_keeps_what_hangs_on_the_bytes_and_looks_again() -> None:
    policy({"gate": "variant.parity"})
    checklist = opened()
    know(checklist, "variant.parity", "passed")
    GateResult.objects.update(due_at=None)
    changed = services.reconfigure(
        actor=ACTOR, checklist=checklist, variant=checklist.variant, configuration={"replicas": 3}
    )
    assert selectors.standing(changed).verdict is ChecklistVerdict.PASSED
    assert GateResult.objects.get(checklist=checklist).due_at is not None


def test_a_closed_checklist_is_not_changed_any_more() -> None:
    policy({"gate": "variant.parity"})
    checklist = services.close_checklist(actor=ACTOR, checklist=opened())
    with pytest.raises(Conflict, match="closed"):
        services.reconfigure(
            actor=ACTOR, checklist=checklist, variant=checklist.variant, configuration={}
        )


def test_a_variant_of_another_version_is_refused() -> None:
    policy({"gate": "variant.parity"})
    checklist = opened()
    with pytest.raises(Invalid, match="not this version"):
        services.reconfigure(
            actor=ACTOR, checklist=checklist, variant=factories.variant(), configuration={}
        )


def test_an_environment_without_a_policy_is_checked_by_the_default() -> None:
    Policy.objects.all().delete()
    standing = selectors.standing(opened())
    assert standing.policy.number == 1
    assert "artifact.digest" in [g.gate for g in standing.blocking]


def test_a_minimum_score_is_a_gate_of_its_own() -> None:
    made = policy({"gate": "variant.parity"})
    made.document["minimum_score"] = 2
    made.save()
    assert [g.gate for g in selectors.standing(opened()).gates] == [
        "variant.parity",
        "score.minimum",
    ]
