"""A release from proposed to live, and everything that stops it on its way."""

from datetime import timedelta

import pytest

from apps.approvals.models import ApprovalRequest
from apps.audit.models import AuditEvent
from apps.gates import services as gates
from apps.gates.models import GateResult
from apps.notifications.models import Notification
from apps.registry.models import Alias
from apps.releases import selectors, services
from apps.releases.models import Release
from apps.rollouts import services as rollouts
from apps.rollouts.models import Rollout
from controlplane.kernel.errors import Conflict, Denied, Invalid
from tests import factories, governed
from tests.governed import Governed

pytestmark = pytest.mark.django_db


@pytest.fixture
def house() -> Governed:
    return governed.house()


def test_a_release_goes_live_by_passed_gates_and_two_yeses(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer")
    assert house.run(row).state == "awaiting_approval"
    house.approve(row, "operator")
    row = house.run(row, "live")
    rollout = Rollout.objects.get(release=row.public_id)
    assert rollout.state == "promoted"
    assert rollout.authorization["ground"] == "approved"
    assert rollout.authorization["digest"] == row.digest == row.request.digest
    assert rollout.candidate.bundle_digest == house.variant.bundle_digest
    assert Alias.objects.get(model=house.model, name="champion").version == house.version
    story = AuditEvent.objects.filter(target=f"release/{row.public_id}").order_by("id")
    assert [event.verb for event in story] == [
        "releases.propose", "releases.check", "approvals.ask", "releases.ask",
        "approvals.approve", "approvals.approve", "approvals.grant",
        "releases.authorize", "releases.start", "releases.go_live",
    ]  # fmt: skip


def test_nobody_is_asked_before_every_required_gate_has_passed(house: Governed) -> None:
    row = house.propose()
    row = house.run(row)
    assert row.state == "checking"
    assert row.request is None
    said = selectors.missing(row)
    assert [part.part for part in said] == ["gates", "gates", "decide"]


def test_a_gate_that_fails_after_the_approval_voids_it(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer")
    house.judge(row.checklist, "artifact.scanned", "failed")
    row = house.run(row, "checking")
    assert row.request.state == "voided"
    assert "gates, artifact.scanned: passed to failed" in row.request.end_reason
    told = Notification.objects.filter(kind="release.voided")
    assert {n.person.username for n in told} >= {"maker", "reviewer"}
    house.judge(row.checklist, "artifact.scanned", "passed")
    again = house.run(row, "awaiting_approval")
    assert again.request.replaces_id == row.request_id
    assert not again.request.decisions.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replicas": 2}, "configuration, replicas: 1 to 2"),
        ({"configuration": {"threads": 2}}, "configuration, settings.threads: nothing to 2"),
        ({"variant": "native"}, "variant, kind: onnx to native"),
    ],
)
def test_a_change_of_what_would_be_shipped_voids(
    house: Governed, change: dict[str, object], words: str
) -> None:
    factories.variant(build=house.variant.build, kind="native")
    row = house.waiting()
    house.approve(row, "reviewer", "operator")
    services.revise(actor=house.actor("maker"), number=row.number, reason="Better.", **change)
    row = house.run(row)
    first = ApprovalRequest.objects.order_by("id")[0]
    assert first.state == "voided"
    assert words in first.end_reason
    assert not Rollout.objects.exists()


def test_a_new_policy_voids_what_was_approved_under_the_old_one(house: Governed) -> None:
    house.freeze()
    row = house.waiting()
    house.approve(row, "reviewer", "operator")
    house.run(row, "authorized")
    house.set_policy(gates=governed.GATES[:1])
    row = house.run(row, "checking")
    assert row.digest == ""
    assert "policy, version" in row.request.end_reason


def test_a_yes_to_something_else_is_refused(house: Governed) -> None:
    row = house.waiting()
    seen = house.digest(row)
    services.revise(actor=house.actor("maker"), number=row.number, replicas=2)
    with pytest.raises(Conflict) as refused:
        services.approve(actor=house.actor("reviewer"), number=row.number, digest=seen)
    assert refused.value.code == "approvals.changed"
    assert refused.value.field == "digest"


@pytest.mark.parametrize("who", ["author", "maker", "viewer"])
def test_neither_author_nor_proposer_nor_a_reader_decides(house: Governed, who: str) -> None:
    factories.grant(person=house.people["maker"], role="reviewer")
    row = house.waiting()
    with pytest.raises(Denied):
        house.approve(row, who)


def test_a_role_that_is_taken_away_takes_the_yes_away(house: Governed) -> None:
    house.freeze()
    row = house.waiting()
    house.approve(row, "reviewer", "operator")
    house.run(row, "authorized")
    house.people["reviewer"].role_grants.all().delete()
    row = house.run(row, "awaiting_approval")
    assert row.request.state == "open"
    house.approve(row, "second")
    assert house.run(row, "authorized").request.state == "granted"


def test_changes_asked_for_hold_a_release_until_they_are_taken_back(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer")
    services.request_changes(
        actor=house.actor("second"), number=row.number, digest=house.digest(row), reason="Why?"
    )
    house.approve(row, "operator")
    assert house.run(row).state == "awaiting_approval"
    assert [r.number for r in selectors.mine_with_changes(house.actor("maker"))] == [row.number]
    services.take_back(actor=house.actor("second"), number=row.number)
    assert house.run(row, "live").state == "live"


def test_one_decline_ends_it(house: Governed) -> None:
    row = house.waiting()
    with pytest.raises(Invalid):
        services.decline(
            actor=house.actor("reviewer"), number=row.number, digest=house.digest(row), reason=" "
        )
    services.decline(
        actor=house.actor("reviewer"), number=row.number, digest=house.digest(row), reason="No."
    )
    row = house.run(row, "declined")
    assert row.end_reason == "reviewer: No."
    assert row.checklist.closed_at is not None


def test_a_question_nobody_answers_expires(house: Governed) -> None:
    row = house.waiting()
    house.now += timedelta(hours=25)
    house.step(row)
    assert Notification.objects.filter(kind="release.reminder").exists()
    house.now += timedelta(days=14)
    row = house.run(row, "expired")
    assert row.request.state == "withdrawn"


def test_where_no_seats_are_the_gates_decide_alone() -> None:
    house = governed.house(seats=())
    row = house.propose()
    house.run(row, lambda seen: seen.checklist_id is not None)
    assert house.run(row).state == "checking"
    house.pass_gates(row)
    row = house.run(row, "live")
    assert row.request is None
    assert Rollout.objects.get().authorization["ground"] == "no_approval_needed"


def test_a_freeze_holds_an_authorized_release_until_it_ends(house: Governed) -> None:
    frozen = house.freeze()
    row = house.waiting()
    house.approve(row, "reviewer", "operator")
    row = house.run(row, "authorized")
    assert house.run(row).state == "authorized"
    assert selectors.missing(row)[0].part == "plan"
    frozen.delete()
    assert house.run(row, "live").state == "live"


def test_breaking_the_glass_ships_at_once_and_owes_a_review(house: Governed) -> None:
    house.freeze()
    row = house.run(house.propose())
    with pytest.raises(Denied):
        services.break_glass(actor=house.actor("maker"), number=row.number, reason="Now!")
    services.break_glass(actor=house.actor("operator"), number=row.number, reason="Fraud runs.")
    row = house.run(row, "live")
    assert Rollout.objects.get().authorization["ground"] == "emergency"
    assert Notification.objects.filter(kind="release.emergency", urgent=True).exists()
    assert [r.number for r in selectors.reviews_due(house.actor("reviewer"))] == [row.number]
    with pytest.raises(Denied):
        services.review(actor=house.actor("operator"), number=row.number, text="Fine.")
    services.review(actor=house.actor("reviewer"), number=row.number, text="Add an alarm.")
    assert not selectors.reviews_due(house.actor("reviewer"))


def test_the_glass_is_whole_again_when_the_time_is_over(house: Governed) -> None:
    row = house.run(house.propose())
    services.break_glass(actor=house.actor("operator"), number=row.number, reason="Fraud runs.")
    Release.objects.filter(pk=row.pk).update(emergency_until=house.now - timedelta(hours=1))
    assert house.run(row).state == "checking"
    assert not Rollout.objects.exists()


def test_a_policy_may_forbid_breaking_the_glass() -> None:
    house = governed.house(emergency={"allowed": False})
    row = house.run(house.propose())
    with pytest.raises(Conflict) as refused:
        services.break_glass(actor=house.actor("operator"), number=row.number, reason="Now!")
    assert refused.value.code == "releases.no_emergency"


def test_the_newer_release_supersedes_the_older(house: Governed) -> None:
    first = house.live()
    stale = house.propose(replicas=2)
    house.next_version()
    second = house.live()
    assert second.number > first.number
    assert house.run(stale, "superseded").state == "superseded"
    assert house.run(first, "superseded").state == "superseded"
    assert Alias.objects.get(model=house.model, name="champion").version == house.version


def test_rolling_back_needs_nobody_and_no_thaw(house: Governed) -> None:
    first = house.live()
    bad = house.next_version().live()
    house.run(first, "superseded")
    house.freeze()
    with pytest.raises(Denied):
        back(house, "maker")
    row = house.run(back(house, "operator"), "live")
    assert row.returns_to_id == first.pk
    assert row.version_id == first.version_id
    assert house.run(bad, "rolled_back").end_reason
    assert Rollout.objects.get(release=row.public_id).authorization["ground"] == "roll_back"
    assert Alias.objects.get(model=house.model, name="champion").version_id == first.version_id


def test_one_cannot_go_back_to_what_was_never_approved(house: Governed) -> None:
    house.live()
    with pytest.raises(Conflict) as refused:
        back(house, "operator")
    assert refused.value.code == "releases.no_way_back"


def test_proposing_twice_is_proposing_once(house: Governed) -> None:
    assert house.propose().pk == house.propose().pk
    assert house.propose(replicas=2).number == 2


def test_what_goes_back_may_be_proposed_again_at_once(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer", "operator")
    row = house.run(row, "rolling_out")
    assert house.propose().pk == row.pk
    rollouts.abort(
        actor=house.actor("operator"), rollout=row.rollout.public_id, reason="Complaints."
    )
    again = house.propose()
    assert again.number == row.number + 1
    assert house.run(row, "rolled_back").state == "rolled_back"
    assert house.run(again).state == "checking"


def test_a_withdrawn_release_stays_readable_and_moves_no_more(house: Governed) -> None:
    row = house.waiting()
    services.withdraw(actor=house.actor("maker"), number=row.number, reason="Not yet.")
    row = house.run(row)
    assert (row.state, row.request.state) == ("withdrawn", "withdrawn")
    assert row.checklist.closed_at is not None
    with pytest.raises(Conflict):
        services.revise(actor=house.actor("maker"), number=row.number, replicas=2)


def test_a_waived_gate_counts_until_its_waiver_ends(house: Governed) -> None:
    row = house.run(house.propose(), lambda seen: seen.checklist_id is not None)
    house.judge(row.checklist, "artifact.digest", "passed")
    waiver = gates.grant_waiver(
        actor=house.actor("reviewer"), checklist=row.checklist.public_id,
        gate="artifact.scanned", reason="Scanned by hand.",
        expires_at=house.now + timedelta(days=1),
    )  # fmt: skip
    # What the checklist's own pass would do next.
    waived = GateResult.objects.filter(checklist=row.checklist, gate="artifact.scanned")
    waived.update(state="waived", waiver=waiver)
    row = house.run(row, "awaiting_approval")
    assert row.request.content["gates"]["artifact.scanned"] == f"waived:{waiver.public_id}"
    house.approve(row, "reviewer")
    house.now += timedelta(days=1)
    row = house.run(row, "checking")
    assert row.request.state == "voided"


def back(house: Governed, who: str) -> Release:
    return services.roll_back(
        actor=house.actor(who), model=house.model.name, environment=governed.WHERE,
        reason="It declines everybody.",
    )  # fmt: skip
