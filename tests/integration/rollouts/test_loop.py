"""Rollouts through the real loop: what moves traffic, what sends it back, and what waits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.endpoints import services as endpoints
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import Problem, ReplicaState
from apps.endpoints.models import Revision
from apps.notifications.models import Notification
from apps.rollouts import selectors, services
from apps.rollouts.models import Rollout, RolloutEvent
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Conflict, Denied, Invalid
from tests import factories
from tests.rolling import CANARY, House
from workers import loop

pytestmark = pytest.mark.django_db


QUICK = {
    "kind": "canary",
    "steps": [{"weight": 5, "hold_seconds": 10, "deadline_seconds": 60}],
}


@pytest.fixture
def house() -> House:
    return House()


def fresh(row: Rollout) -> Rollout:
    return Rollout.objects.get(pk=row.pk)


def ended(row: Rollout) -> Any:
    return lambda: fresh(row).ended_at is not None


def weights(house: House, number: int = 2) -> list[int]:
    """Return the weights that the candidate was given, in order."""
    given = [route.weight_of(number) for route in house.router.applied]
    return [w for w, before in zip(given, [None, *given], strict=False) if w != before]


def kinds(row: Rollout) -> list[str]:
    return [event.kind for event in reversed(selectors.events(row))]


def test_a_good_canary_climbs_the_ladder_and_takes_everything(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint)
    house.run(ended(row))
    assert fresh(row).state == "promoted"
    assert weights(house) == [0, 5, 25, 50, 100]
    assert kinds(row) == [
        "begun", "fits", "seen", "advanced", "seen", "advanced", "seen", "promoted", "settled",
    ]  # fmt: skip
    assert [r.state for r in endpoint.revisions.order_by("number")] == ["draining", "live"]


def test_no_hold_is_cut_short(house: House) -> None:
    row = house.start(house.live())
    house.run(ended(row))
    events = {(e.kind, n): e.at for n, e in enumerate(reversed(selectors.events(row)))}
    seen = [at for (kind, _), at in events.items() if kind == "seen"]
    left = [at for (kind, _), at in events.items() if kind in ("advanced", "promoted")]
    assert len(seen) == 3
    assert all(b - a >= timedelta(seconds=60) for a, b in zip(seen, left, strict=True))


def test_a_canary_that_fails_more_is_sent_back(house: House) -> None:
    endpoint = house.live(errors={2: 0.05})
    row = house.start(endpoint)
    factories.grant(person=factories.person(), role=Role.OPERATOR, team=endpoint.model.team)
    house.run(ended(row))
    found = fresh(row)
    assert found.state == "rolled_back"
    assert "fails more often" in found.reason
    assert house.router.routes[endpoint.public_id].weight_of(1) == 100
    assert kinds(row)[-2:] == ["aborted", "restored"]
    assert Notification.objects.filter(kind="rollout.aborted").exists()
    story = AuditEvent.objects.filter(target=f"rollout/{row.public_id}").order_by("id")
    assert [e.verb for e in story][-2:] == ["rollouts.abort", "rollouts.restore"]


def test_without_traffic_it_waits_says_so_and_then_asks(house: House) -> None:
    row = house.start(house.live(rate=0), QUICK)
    factories.grant(person=factories.person(), role=Role.OPERATOR, team=row.endpoint.model.team)
    house.run(lambda: fresh(row).state == "paused")
    found = fresh(row)
    assert (found.step, found.pause) == (0, "deadline")
    assert weights(house) == [0, 5]
    assert Notification.objects.filter(kind="rollout.paused").exists()
    house.run(lasting=timedelta(minutes=10))
    assert fresh(row).state == "paused"


def test_what_does_not_fit_starts_nothing_and_says_what_would(house: House) -> None:
    endpoint = house.live()
    house.capacity.memory_mb = 10
    row = house.start(endpoint)
    house.run(lasting=timedelta(seconds=30))
    found = fresh(row)
    assert found.state == "pending"
    assert found.fit["fitting"] == "by_recreate"
    assert "recreate" in found.fit["remedy"]
    assert len(house.servers.known()) == 1
    house.capacity.memory_mb = 1000
    house.run(lambda: fresh(row).state == "progressing")


def test_recreate_stops_the_live_one_first_and_brings_it_back_on_failure(house: House) -> None:
    endpoint = house.live()
    house.servers.failing[2] = Problem("server.failed", "no such operator")
    row = house.start(endpoint, {"kind": "recreate"})
    stable = endpoint.revisions.get(number=1)
    house.run(lambda: stable.public_id not in house.servers.known())
    house.run(ended(row))
    assert fresh(row).state == "rolled_back"
    assert house.router.routes[endpoint.public_id].weight_of(1) == 100
    house.servers.failing.clear()
    again = house.start(endpoint, {"kind": "recreate"})
    house.run(ended(again))
    assert fresh(again).state == "promoted"


def test_blue_green_previews_and_switches_at_once(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint, {"kind": "blue_green", "ask": True})
    house.run(lambda: fresh(row).state == "paused")
    route = house.router.routes[endpoint.public_id]
    assert (route.candidate, route.preview, route.weight_of(2)) == (2, True, 0)
    services.resume(actor=house.admin, rollout=row.public_id)
    house.run(ended(row))
    assert fresh(row).state == "promoted"
    assert weights(house) == [0, 100]


def test_a_shadow_serves_nobody(house: House) -> None:
    endpoint = house.live()
    plan = {
        "kind": "shadow", "hold_seconds": 60, "ask": True,
        "metrics": [{
            "name": "errors", "title": "Errors", "kind": "rate", "source": "errors",
            "margin": {"absolute": 0.01},
        }],
    }  # fmt: skip
    row = house.start(endpoint, plan)
    house.run(lasting=timedelta(minutes=5))
    route = house.router.routes[endpoint.public_id]
    assert (route.mirror, route.weight_of(2)) == (100, 0)
    assert fresh(row).state in ("progressing", "paused")
    services.abort(actor=house.admin, rollout=row.public_id, reason="Enough seen.")
    house.run(ended(row))
    told = list(RolloutEvent.objects.filter(rollout=row).order_by("id"))[-2:]
    assert [event.sentence for event in told] == [
        "All requests stay with v1.", "v1 answers everything, as before.",
    ]  # fmt: skip


def test_an_experiment_keeps_a_caller_on_one_side(house: House) -> None:
    endpoint = house.live()
    row = house.start(
        endpoint,
        {"kind": "ab", "sticky": {"name": "x-user"}, "metric": {"name": "ok", "title": "Ok"}},
    )
    house.run(lambda: bool(fresh(row).step_seen_at))
    route = house.router.routes[endpoint.public_id]
    assert route.sticky is not None
    assert (route.sticky.name, route.weight_of(2)) == ("x-user", 50)


def test_a_candidate_that_never_becomes_ready_ends_the_rollout(house: House) -> None:
    endpoint = house.live()
    house.servers.looks_to_ready = 10_000_000
    row = house.start(endpoint)
    house.run(lambda: fresh(row).candidate.state == RevisionState.STARTING)
    house.run(lasting=timedelta(seconds=5))
    house.now += timedelta(minutes=30)
    house.run(ended(row))
    assert fresh(row).state == "rolled_back"
    assert "not ready" in fresh(row).reason
    assert weights(house) == [0]


def test_servers_that_end_again_and_again_end_the_rollout(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint)
    house.run(lambda: bool(fresh(row).step_seen_at))
    candidate = fresh(row).candidate
    for time in (1, 2):
        house.servers.kill(candidate.public_id, 0)
        house.run(lambda wanted=time: _restarts(candidate) == wanted, passes=50)
        house.run(lambda: _is_ready(candidate), passes=50)
    house.run(ended(row))
    assert fresh(row).state == "rolled_back"
    assert "have ended" in fresh(row).reason


def _is_ready(candidate: Revision) -> bool:
    candidate.refresh_from_db()
    return [r["state"] for r in candidate.observed_replicas] == [ReplicaState.READY]


def _restarts(candidate: Revision) -> int:
    candidate.refresh_from_db()
    return candidate.restarts


def test_a_person_pauses_resumes_skips_and_promotes(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint)
    house.run(lambda: bool(fresh(row).step_seen_at))
    services.pause(actor=house.admin, rollout=row.public_id, reason="Lunch.")
    house.run(lasting=timedelta(minutes=10))
    assert (fresh(row).state, fresh(row).step) == ("paused", 0)
    services.skip(actor=house.admin, rollout=row.public_id, reason="Seen enough.")
    house.run(lambda: fresh(row).step_seen_at is not None)
    assert (fresh(row).state, fresh(row).step) == ("progressing", 1)
    services.promote(actor=house.admin, rollout=row.public_id, reason="It is good.")
    house.run(ended(row))
    assert fresh(row).state == "promoted"
    assert weights(house) == [0, 5, 25, 100]


def test_a_person_aborts_and_everything_goes_back(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint)
    house.run(lambda: fresh(row).step == 1 and bool(fresh(row).step_seen_at))
    services.abort(actor=house.admin, rollout=row.public_id, reason="Complaints.")
    house.run(ended(row))
    assert (fresh(row).state, fresh(row).reason) == ("rolled_back", "Complaints.")
    assert weights(house)[-1] == 0


def test_an_abort_before_the_start_just_cancels(house: House) -> None:
    row = house.start(house.live())
    services.abort(actor=house.admin, rollout=row.public_id, reason="Wrong version.")
    house.run(ended(row))
    assert fresh(row).state == "cancelled"


def test_paused_before_it_had_anything_it_gets_nothing(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint)
    house.run(lambda: fresh(row).state == "progressing")
    services.pause(actor=house.admin, rollout=row.public_id, reason="Not yet.")
    house.run(lasting=timedelta(minutes=5))
    assert weights(house) == [0]
    services.resume(actor=house.admin, rollout=row.public_id)
    house.run(ended(row))
    assert fresh(row).state == "promoted"


@pytest.mark.parametrize("verb", ["pause", "skip", "promote", "abort"])
def test_a_verb_needs_a_reason(house: House, verb: str) -> None:
    row = house.start(house.live())
    with pytest.raises(Invalid) as caught:
        getattr(services, verb)(actor=house.admin, rollout=row.public_id, reason=" ")
    assert caught.value.field == "reason"


def test_a_verb_that_is_not_possible_now_says_what_is(house: House) -> None:
    row = house.start(house.live())
    with pytest.raises(Conflict) as caught:
        services.resume(actor=house.admin, rollout=row.public_id)
    assert caught.value.code == "rollout.illegal_move"


def test_whoever_only_reads_moves_nothing(house: House) -> None:
    row = house.start(house.live())
    with pytest.raises(Denied):
        services.abort(
            actor=factories.actor_with(Role.VIEWER), rollout=row.public_id, reason="No."
        )


def test_going_back_to_a_warm_revision_starts_nothing(house: House) -> None:
    endpoint = house.live()
    first = endpoint.revisions.get(number=1)
    row = house.start(endpoint, {"kind": "all_at_once"})
    house.run(ended(row))
    starts = [call for call in house.servers.calls if call.startswith("start")]
    back = house.start_of(endpoint, first.version, first.variant, {"kind": "all_at_once"})
    house.run(ended(back))
    assert fresh(back).state == "promoted"
    assert fresh(back).candidate_id == first.pk
    assert [call for call in house.servers.calls if call.startswith("start")] == starts


def test_a_route_changed_by_hand_is_put_back_and_recorded(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint)
    house.run(lambda: bool(fresh(row).step_seen_at))
    route = house.router.routes[endpoint.public_id]
    swapped = tuple(replace(s, weight=100 - s.weight) for s in route.shares)
    house.router.alter(replace(route, shares=swapped))
    endpoint.refresh_from_db()
    house.run(lambda: not house.router.altered)
    assert house.router.routes[endpoint.public_id].weight_of(2) == 5
    assert AuditEvent.objects.filter(verb="endpoints.route.put_back").exists()


def test_a_newer_serve_outside_the_rollout_ends_it(house: House) -> None:
    endpoint = house.live()
    row = house.start(endpoint)
    house.run(lambda: bool(fresh(row).step_seen_at))
    version = factories.version(model=endpoint.model)
    factories.variant(version=version)
    endpoints.serve(
        actor=house.admin, model=endpoint.model.name, version=version.number, environment="dev"
    )
    house.run(ended(row))
    assert fresh(row).state == "rolled_back"
    house.run(lambda: endpoint.revisions.get(number=3).state == "live")


def test_the_default_canary_is_what_an_approval_signs(house: House) -> None:
    row = house.start(house.live(), CANARY)
    assert row.strategy["on_deadline"] == "ask"
    assert row.strategy["steps"][0]["judge"] is True


def test_one_sweep_takes_all_that_is_due(house: House) -> None:
    endpoint = house.live()
    house.start(endpoint)
    for _ in range(6):
        factories.endpoint()
    house.now += timedelta(minutes=1)
    ran = loop.sweep_all(house.kinds["endpoint"], now=lambda: house.now, limit=2)
    assert ran >= 7
