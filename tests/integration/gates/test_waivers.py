"""Waivers: by whom, for how long, and what comes after."""

from datetime import timedelta
from pathlib import Path

import pytest

from apps.accounts.models import Person
from apps.audit.models import AuditEvent
from apps.gates import services
from apps.gates.domain.evaluate import ChecklistVerdict
from apps.gates.domain.states import GateState
from apps.gates.models import Checklist, Waiver
from apps.registry.models import ModelVersion
from controlplane.kernel.actor import Actor, ActorKind, Grant, Role
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid
from tests import factories
from tests.gating import Gated, gated

pytestmark = pytest.mark.django_db
GATE = "rollback.rehearsed"


@pytest.fixture
def house(tmp_path: Path) -> Gated:
    return gated(tmp_path)


@pytest.fixture
def proposer() -> Person:
    return factories.person(role="admin")


@pytest.fixture
def checklist(house: Gated, proposer: Person) -> Checklist:
    made = house.open(house.variant(), GATE, proposer_id=proposer.pk)
    house.settle(made)
    return made


def grant(
    checklist: Checklist, somebody: Person, *, days: float = 7, reason: str = "Soon."
) -> Waiver:
    return services.grant_waiver(
        actor=factories.actor_of(somebody), checklist=checklist.public_id, gate=GATE,
        reason=reason, expires_at=SystemClock().now() + timedelta(days=days),
    )  # fmt: skip


def test_a_waiver_gets_a_release_past_what_is_unknown(house: Gated, checklist: Checklist) -> None:
    waiver = grant(checklist, factories.person(role="reviewer"))
    standing = house.standing(checklist)
    assert standing.verdict is ChecklistVerdict.PASSED
    assert standing.gates[0].state is GateState.WAIVED
    assert standing.gates[0].waiver == waiver
    assert standing.signed == {GATE: f"waived:{waiver.public_id}"}
    event = AuditEvent.objects.get(verb="gates.waive")
    assert event.reason == "Soon."


def test_the_proposer_waives_nothing(checklist: Checklist, proposer: Person) -> None:
    with pytest.raises(Denied, match="proposed this release"):
        grant(checklist, proposer)


def test_the_versions_author_waives_nothing(checklist: Checklist) -> None:
    author = factories.person(role="reviewer")
    ModelVersion.objects.filter(pk=checklist.version_id).update(
        registered_by=f"{author.username}/ci"
    )
    with pytest.raises(Denied, match="registered this version"):
        grant(checklist, author)


def test_a_contributor_waives_nothing(checklist: Checklist) -> None:
    with pytest.raises(Denied):
        grant(checklist, factories.person(role="contributor"))


@pytest.mark.parametrize(
    ("days", "reason", "field"),
    [(-1, "x", "expires_at"), (400, "x", "expires_at"), (7, " ", "reason")],
)
def test_a_waiver_needs_a_reason_and_an_end_that_the_policy_allows(
    checklist: Checklist, days: float, reason: str, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        grant(checklist, factories.person(role="reviewer"), days=days, reason=reason)
    assert caught.value.field == field
    assert not Waiver.objects.exists()


def test_a_gate_is_waived_once_at_a_time(checklist: Checklist) -> None:
    lead = factories.person(role="reviewer")
    grant(checklist, lead)
    with pytest.raises(Conflict, match="waived already"):
        grant(checklist, lead)


def test_what_is_passed_is_not_waived(house: Gated) -> None:
    passed = house.open(house.variant(), "variant.parity")
    house.settle(passed)
    with pytest.raises(Conflict, match="needs no waiver"):
        services.grant_waiver(
            actor=factories.actor_of(factories.person(role="reviewer")),
            checklist=passed.public_id, gate="variant.parity", reason="x",
            expires_at=SystemClock().now() + timedelta(days=1),
        )  # fmt: skip


def test_a_waiver_ends_and_its_end_is_said_a_day_before(
    house: Gated, checklist: Checklist, proposer: Person
) -> None:
    lead = factories.person(role="reviewer")
    waiver = grant(checklist, lead)
    house.settle(checklist)
    while house.now < waiver.expires_at - timedelta(hours=23):
        house.now += timedelta(hours=4)
        house.step(checklist)
    assert house.states(checklist) == {GATE: "waived"}
    for somebody in (lead, proposer):
        kinds = [n.kind for n in somebody.notifications.all()]
        assert kinds == ["waiver.expiring"]
    house.now = waiver.expires_at
    assert house.standing(checklist).verdict is ChecklistVerdict.UNKNOWN  # at once, unnoticed
    house.step(checklist)
    assert house.states(checklist) == {GATE: "unknown"}
    waiver.refresh_from_db()
    assert waiver.lapsed_at is not None


def test_after_a_waiver_has_ended_another_may_be_granted(
    house: Gated, checklist: Checklist
) -> None:
    lead = factories.person(role="reviewer")
    first = grant(checklist, lead)
    Waiver.objects.filter(pk=first.pk).update(expires_at=SystemClock().now())
    second = grant(checklist, lead)
    assert house.standing(checklist).gates[0].waiver == second


def test_a_withdrawn_waiver_holds_no_more(house: Gated, checklist: Checklist) -> None:
    lead = factories.person(role="reviewer")
    waiver = grant(checklist, lead)
    services.withdraw_waiver(
        actor=factories.actor_of(lead), waiver=waiver.public_id, reason="It was rehearsed wrong."
    )
    assert house.standing(checklist).verdict is ChecklistVerdict.UNKNOWN
    assert house.states(checklist) == {GATE: "unknown"}


def test_a_waiver_is_about_the_bytes_it_was_granted_for(
    house: Gated, checklist: Checklist
) -> None:
    grant(checklist, factories.person(role="reviewer"))
    other = factories.variant(build=checklist.variant.build, kind="onnx-optimised")
    services.reconfigure(
        actor=factories.actor_with("admin"), checklist=checklist, variant=other,
        configuration=checklist.configuration,
    )  # fmt: skip
    house.settle(checklist)
    assert house.standing(checklist).verdict is ChecklistVerdict.UNKNOWN


def test_a_measurement_takes_a_waivers_place_when_it_passes(
    house: Gated, checklist: Checklist
) -> None:
    grant(checklist, factories.person(role="reviewer"))
    version = checklist.version
    token = Actor(ActorKind.TOKEN, "ada/ci", None, frozenset({Grant(Role.CONTRIBUTOR)}))
    services.record_evidence(
        actor=token, model=version.model.name, version=version.number, key=GATE, verdict="passed"
    )
    house.settle(checklist)
    assert house.states(checklist) == {GATE: "passed"}
