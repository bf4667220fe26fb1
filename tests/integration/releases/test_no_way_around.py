"""No sequence of moves moves traffic without the policy's approvals for exactly what is shipped.

Hypothesis plays everybody at once: proposers who change their minds, reviewers, admins who write
policies, gates that turn, people who lose their roles, workers that pass at any moment. What was
started is then held against the rows themselves, by a check that shares no code with the product.
"""

import itertools
import json
from hashlib import sha256
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.accounts.models import Person, RoleGrant
from apps.approvals.models import ApprovalRequest, Decision
from apps.gates.models import GateResult
from apps.releases import services
from apps.releases.models import Release
from apps.rollouts.models import Rollout
from controlplane.kernel.errors import ControlPlaneError
from tests import factories, governed

JUDGES = ("author", "maker", "reviewer", "second", "operator", "boss", "viewer")
DECISIONS = (services.approve, services.approve, services.request_changes, services.decline)
CHANGES = (
    {"replicas": 1},
    {"replicas": 2},
    {"variant": "native"},
    {"variant": "onnx"},
    {"configuration": {"threads": 2}},
)


class AnybodyAnyOrder(RuleBasedStateMachine):
    """Everything that anybody may try, in any order."""

    @initialize()
    def fill(self) -> None:
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.house = governed.house()
        factories.variant(build=self.house.variant.build, kind="native")
        self.row = self.house.waiting()
        self.stale = self.house.digest(self.row)

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @rule(who=st.sampled_from(JUDGES), verb=st.sampled_from(DECISIONS), stale=st.booleans())
    def decide(self, who: str, verb: Any, stale: bool) -> None:
        digest = self.stale if stale else self.house.digest(self.row)
        self.attempt(
            verb, actor=self.house.actor(who), number=self.row.number, digest=digest, reason="So."
        )

    @rule(who=st.sampled_from(("reviewer", "operator")))
    def approve(self, who: str) -> None:
        self.attempt(
            services.approve, actor=self.house.actor(who), number=self.row.number,
            digest=self.house.digest(self.row), reason="",
        )  # fmt: skip

    @rule()
    def agree_and_work(self) -> None:
        for who in ("reviewer", "operator"):
            self.approve(who)
        self.house.step(self.row)

    @rule(who=st.sampled_from(JUDGES))
    def take_back(self, who: str) -> None:
        self.attempt(services.take_back, actor=self.house.actor(who), number=self.row.number)

    @rule(changes=st.sampled_from(CHANGES))
    def revise(self, changes: dict[str, Any]) -> None:
        self.attempt(
            services.revise, actor=self.house.actor("maker"), number=self.row.number, **changes
        )

    @rule(gate=st.sampled_from(governed.GATES), verdict=st.sampled_from(("passed", "failed")))
    def measure(self, gate: str, verdict: str) -> None:
        checklist = self.house.fresh(self.row).checklist
        self.house.judge(checklist, gate, verdict)

    @rule()
    def mend_every_gate(self) -> None:
        self.house.pass_gates(self.row)

    @rule(name=st.sampled_from(("reviewer", "operator")))
    def take_the_role(self, name: str) -> None:
        RoleGrant.objects.filter(person=self.house.people[name]).delete()

    @rule(seats=st.sampled_from((governed.SEATS, governed.SEATS[:1])))
    def write_a_policy(self, seats: Any) -> None:
        made = self.house.set_policy(seats=seats)
        checklist = self.house.fresh(self.row).checklist
        type(checklist).objects.filter(pk=checklist.pk).update(policy=made)

    @rule()
    def work(self) -> None:
        self.house.step(self.row)

    @rule()
    def work_on(self) -> None:
        self.house.run(self.row)

    @precondition(lambda self: not Rollout.objects.exists())
    @rule()
    def note_what_is_seen(self) -> None:
        self.stale = self.house.digest(self.row)

    @invariant()
    def what_moves_was_approved(self) -> None:
        if not hasattr(self, "row"):
            return
        for rollout in Rollout.objects.order_by("id"):
            if not hasattr(self, "checked"):
                self.checked = rollout.pk
                event("traffic moved")
                hold(rollout)

    def attempt(self, verb: Any, **arguments: Any) -> None:
        """Try something that may be refused; a refusal must leave nothing behind."""
        try:
            with transaction.atomic():
                verb(**arguments)
        except ControlPlaneError:
            pass


def hold(rollout: Rollout) -> None:
    """Hold a rollout that has just begun against the raw rows."""
    row = Release.objects.get(public_id=rollout.release)
    request = ApprovalRequest.objects.get(pk=row.request_id)
    assert request.state == "granted"
    content = request.content
    parts = {name: digest_of(said) for name, said in content.items()}
    assert request.digest == row.digest == rollout.authorization["digest"] == digest_of(parts)
    assert content["bundle"]["digest"] == rollout.candidate.bundle_digest
    assert content["configuration"]["replicas"] == rollout.candidate.replicas
    assert content["configuration"]["settings"] == rollout.candidate.configuration
    assert content["manifest"]["digest"] == row.version.manifest_digest
    assert set(content["gates"].values()) == {"passed"}
    for result in GateResult.objects.filter(checklist=row.checklist_id, required=True):
        assert content["gates"][result.gate] == "passed"
    said = Decision.objects.filter(request=request, taken_back_at=None)
    assert {d.kind for d in said} == {"approve"}
    people = [d.person for d in said if d.digest == request.digest]
    assert seats_filled(request, people), f"{request.seats} by {people}"


def seats_filled(request: ApprovalRequest, people: list[Person]) -> bool:
    """Return whether some way of seating distinct people fills every seat: by trying them all."""
    judges = [p for p in people if p.username not in ("maker", "author")]
    return any(
        all(holds(person, seat) for person, seat in zip(seated, request.seats, strict=True))
        for seated in itertools.permutations(judges, len(request.seats))
    )


def holds(person: Person, seat: dict[str, Any]) -> bool:
    return any(
        g.role in seat["roles"]
        and (seat["team"] is None or g.team is None or g.team.slug == seat["team"])
        for g in RoleGrant.objects.filter(person=person)
    )


def digest_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + sha256(text.encode()).hexdigest()


@pytest.mark.django_db
def test_no_sequence_of_moves_gets_past_the_policy() -> None:
    run_state_machine_as_test(
        AnybodyAnyOrder,
        settings=settings(
            max_examples=12, stateful_step_count=14, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
