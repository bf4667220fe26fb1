"""Rehearsals through the real loop: the fault, the alarm, the way back, and what they prove."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from apps.analysis.models import AnalysisRun
from apps.endpoints.domain.values import Prediction
from apps.endpoints.models import Endpoint
from apps.environments.models import Environment
from apps.gates.domain.default_policies import default_policy
from apps.gates.domain.policy import GateRule
from apps.gates.models import Checklist, Evidence
from apps.gates.programs import rehearsed
from apps.gates.programs.subject import Subject
from apps.monitoring.models import TrafficWindow
from apps.notifications.models import Channel, Delivery, Notification
from apps.rollouts import rehearsals, selectors, services
from apps.rollouts.domain import rehearsing
from apps.rollouts.models import Rollout
from apps.rollouts.reconcile import RolloutReconciler
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Conflict, Denied, Invalid, Transient
from tests import factories
from tests.rolling import WINDOW, House
from workers.loop import Kind

pytestmark = pytest.mark.django_db


@dataclass
class Callers:
    """Asks as the proxy lets it be answered; what fails is counted for the candidate."""

    house: "Rehearsed"
    deaf: bool = False  # whether the proxy's statistics show nothing of it

    def predict(
        self, *, environment: str, name: str, body: Mapping[str, Any], key: str, request_id: str,
        preview: bool = False,
    ) -> Prediction:  # fmt: skip
        (route,) = (r for r in self.house.router.routes.values() if r.name == name)
        assert preview
        if not route.faulty:
            return Prediction({}, 1.0, route.candidate, request_id)
        if not self.deaf:
            self._count(route.endpoint, route.candidate or 0)
        raise Transient("The model did not answer in time.", code="predict.unavailable")

    def _count(self, endpoint: str, number: int) -> None:
        revision = Endpoint.objects.get(public_id=endpoint).revisions.get(number=number)
        starts_at = self.house.told_until - WINDOW
        window, _ = TrafficWindow.objects.get_or_create(
            revision=revision, starts_at=starts_at, defaults={"requests": 0, "latency": []}
        )
        window.requests += 1
        window.errors_5xx += 1
        window.save()


class Rehearsed(House):
    """A house whose rehearsals have somebody who asks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.callers = Callers(self)
        self.kinds["rollout"] = Kind(Rollout, self._reconciler)

    def _reconciler(self) -> RolloutReconciler:
        return RolloutReconciler(self.capacity, self.callers)

    def rehearse(self, endpoint: Endpoint, version: int = 1, **more: Any) -> Rollout:
        """Begin one, as an admin."""
        asked = {"actor": self.admin, "reason": "Before we need it.", **more}
        return rehearsals.rehearse(
            model=endpoint.name, version=version, environment=endpoint.environment.slug, **asked
        )

    def through(self, row: Rollout) -> Rollout:
        """Run until the rehearsal has ended."""
        self.run(lambda: Rollout.objects.get(pk=row.pk).ended_at is not None)
        return Rollout.objects.get(pk=row.pk)


@pytest.fixture
def house() -> Rehearsed:
    return Rehearsed()


def on_call(endpoint: Endpoint) -> None:
    factories.grant(person=factories.person(), role=Role.OPERATOR, team=endpoint.model.team)


def evidence(key: str) -> Evidence:
    return Evidence.objects.get(key=key)


def subject(version: Any, gate: str, now: Any, **parameters: Any) -> Subject:
    """Return what a gate of a release of `version` to production is judged about."""
    rule = GateRule(gate=gate, required=True, parameters=parameters)
    place = Environment.objects.get(slug="production")
    document = default_policy("production", version.model.risk_tier, protected=True)
    checklist = Checklist(version=version, variant=version.variants.get(), environment=place)
    return Subject(checklist, rule, document, now)


def test_a_rehearsal_of_the_live_bytes_is_noticed_goes_back_and_proves_both(
    house: Rehearsed,
) -> None:
    endpoint = house.live()
    on_call(endpoint)
    live = endpoint.revisions.get(state="live")
    row = house.through(house.rehearse(endpoint))
    assert (row.state, row.rehearsal, row.stable_id) == ("rolled_back", True, live.pk)
    assert row.candidate_id != live.pk
    assert row.candidate.bundle_digest == live.bundle_digest
    kinds = [event.kind for event in reversed(selectors.events(row))]
    assert kinds == ["begun", "fits", "seen", "fault", "aborted", "restored"]
    assert 10 <= row.drill["failed"] == row.drill["sent"] <= rehearsing.MOST
    back, alarm = evidence("rollback.rehearsed"), evidence("monitoring.proven")
    assert back.subject == alarm.subject == live.bundle_digest
    assert row.decided_at
    assert row.settled_at
    seconds = (row.settled_at - row.decided_at).total_seconds()
    assert back.facts["seconds"] == pytest.approx(seconds, abs=0.001)
    assert (back.source, back.recorded_by) == ("measured", "worker:rollouts")
    assert alarm.verdict == "passed"
    assert 10 <= alarm.facts["counted"] <= row.drill["failed"]
    assert alarm.facts["rollout"] == row.public_id
    assert Notification.objects.filter(dedupe=f"rollout/{row.public_id}/aborted").exists()
    assert live.pk == endpoint.revisions.get(state="live").pk


def test_callers_never_meet_the_fault(house: Rehearsed) -> None:
    endpoint = house.live()
    house.through(house.rehearse(endpoint))
    faulty = [route for route in house.router.applied if route.faulty]
    assert faulty
    assert all(route.preview and route.weight_of(2) == rehearsing.WEIGHT for route in faulty)


def test_the_gates_of_production_judge_by_what_was_seen(house: Rehearsed) -> None:
    endpoint = house.live()
    on_call(endpoint)
    version = endpoint.revisions.get().version
    never = subject(version, "rollback.rehearsed", house.now)
    assert rehearsed.rolled_back(never).verdict == "unknown"
    assert rehearsed.alarm_arrived(subject(version, "monitoring.proven", house.now)).remedy
    house.through(house.rehearse(endpoint))
    now = house.now
    assert rehearsed.rolled_back(subject(version, "rollback.rehearsed", now)).verdict == "passed"
    assert rehearsed.alarm_arrived(subject(version, "monitoring.proven", now)).verdict == "passed"
    Evidence.objects.filter(key="rollback.rehearsed").update(facts={"seconds": 31.0})
    slow = rehearsed.rolled_back(subject(version, "rollback.rehearsed", now))
    assert (slow.verdict, slow.sentence[-25:]) == ("failed", "At most 30 s are allowed.")
    longer = subject(version, "rollback.rehearsed", now, seconds=60)
    assert rehearsed.rolled_back(longer).verdict == "passed"
    later = now + timedelta(days=31)
    assert (
        rehearsed.rolled_back(subject(version, "rollback.rehearsed", later)).verdict == "unknown"
    )


def test_a_way_back_counts_for_the_model_and_an_alarm_for_its_bytes(house: Rehearsed) -> None:
    endpoint = house.live()
    on_call(endpoint)
    house.through(house.rehearse(endpoint))
    other = factories.version(model=endpoint.model)
    factories.variant(version=other, bundle_digest="sha256:" + "7" * 64)
    now = house.now
    assert rehearsed.rolled_back(subject(other, "rollback.rehearsed", now)).verdict == "passed"
    assert rehearsed.alarm_arrived(subject(other, "monitoring.proven", now)).verdict == "unknown"


def test_a_real_way_back_outside_production_counts_as_well(house: Rehearsed) -> None:
    endpoint = house.live(errors={2: 0.3})
    row = house.through(house.start(endpoint))
    assert row.state == "rolled_back"
    assert evidence("rollback.rehearsed").facts["rehearsal"] is False
    assert not Evidence.objects.filter(key="monitoring.proven").exists()


def test_a_fault_that_nobody_notices_fails_the_gate_and_goes_back_all_the_same(
    house: Rehearsed,
) -> None:
    house.callers.deaf = True
    endpoint = house.live(errors={2: 0.0})
    on_call(endpoint)
    row = house.through(house.rehearse(endpoint))
    assert (row.state, row.reason) == ("rolled_back", rehearsing.UNNOTICED)
    alarm = evidence("monitoring.proven")
    assert (alarm.verdict, alarm.facts["counted"], alarm.facts["alert"]) == ("failed", 0, "")
    assert row.drill["sent"] <= rehearsing.MOST


def test_an_alarm_that_reaches_nobody_fails_the_gate(house: Rehearsed) -> None:
    row = house.through(house.rehearse(house.live()))
    assert row.state == "rolled_back"
    alarm = evidence("monitoring.proven")
    assert alarm.verdict == "failed"
    assert "reached nobody" in alarm.sentence


def test_it_waits_a_moment_for_a_channel_and_only_the_channel_counts(house: Rehearsed) -> None:
    endpoint = house.live()
    on_call(endpoint)
    Channel.objects.create(
        name="pager", team=endpoint.model.team, on_call=True, transport="mail", target="x",
        shown="x",
    )  # fmt: skip
    row = house.rehearse(endpoint)
    house.run(lambda: Delivery.objects.filter(dedupe__endswith="aborted").exists())
    house.run(lasting=timedelta(seconds=10))
    assert Rollout.objects.get(pk=row.pk).state == "rolling_back"
    now = house.now
    Delivery.objects.update(state="delivered", delivered_at=now)
    house.through(row)
    assert evidence("monitoring.proven").facts["alert_at"] == now.isoformat()


def test_a_rehearsal_that_somebody_ends_proves_no_alarm(house: Rehearsed) -> None:
    house.callers.deaf = True
    endpoint = house.live()
    row = house.rehearse(endpoint)
    house.run(lambda: "fault_at" in Rollout.objects.get(pk=row.pk).drill)
    services.abort(actor=house.admin, rollout=row.public_id, reason="Enough.")
    house.through(row)
    assert not Evidence.objects.filter(key="monitoring.proven").exists()
    assert evidence("rollback.rehearsed").facts["reason"] == "Enough."


@pytest.mark.parametrize("verb", ["skip", "promote"])
def test_a_rehearsal_never_goes_on(house: Rehearsed, verb: str) -> None:
    row = house.rehearse(house.live())
    house.run(lambda: Rollout.objects.get(pk=row.pk).step_seen_at is not None)
    with pytest.raises(Conflict, match="never on"):
        getattr(services, verb)(actor=house.admin, rollout=row.public_id, reason="now")


def test_a_rehearsal_teaches_the_judge_nothing(house: Rehearsed) -> None:
    house.through(house.rehearse(house.live()))
    house.run(lasting=timedelta(minutes=5))
    (run,) = AnalysisRun.objects.all()
    assert run.calibration is None


def test_a_rehearsal_is_refused_where_it_must_not_be(house: Rehearsed) -> None:
    endpoint = house.live()
    with pytest.raises(Invalid, match="needs a reason"):
        house.rehearse(endpoint, reason=" ")
    reader = factories.actor_with(Role.REVIEWER)
    with pytest.raises(Denied):
        house.rehearse(endpoint, actor=reader)
    with pytest.raises(Conflict, match="nothing to go back to"):
        rehearsals.rehearse(
            actor=house.admin, model=endpoint.name, version=1, environment="staging", reason="x"
        )
    Environment.objects.filter(slug="dev").update(protected=True)
    with pytest.raises(Conflict, match="nothing is made to fail there"):
        house.rehearse(endpoint)
    assert not Rollout.objects.exists()
    Environment.objects.filter(slug="dev").update(protected=False)
    house.rehearse(endpoint)
    with pytest.raises(Conflict, match="Another rollout"):
        house.rehearse(endpoint)
