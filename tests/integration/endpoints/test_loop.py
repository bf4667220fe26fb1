"""The endpoint loop over a real database, with a world that can be made to break anywhere."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.endpoints import services
from apps.endpoints.domain import decide as d
from apps.endpoints.domain.values import Problem, ReplicaState, Share
from apps.endpoints.models import Endpoint, Revision
from apps.endpoints.reconcile import EndpointReconciler
from apps.endpoints.watch import Watch
from controlplane.db.reconcile import claim_one
from controlplane.drivers.memory.serving import MemoryRouter, MemoryServers
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Permanent, Transient
from tests import factories
from workers import loop
from workers.loop import Kind

pytestmark = pytest.mark.django_db

LEASE = timedelta(seconds=45)


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


class House:
    """Memory drivers, and a clock that jumps to whatever is due next."""

    def __init__(self) -> None:
        self.servers, self.router = MemoryServers(looks_to_ready=2), MemoryRouter()
        self.now = datetime.now(UTC) + timedelta(seconds=1)
        self.kind = Kind(Endpoint, lambda: EndpointReconciler(self.servers, self.router))

    def step(self, endpoint: Endpoint) -> bool:
        """Run the pass that is due next; return False when none ever is."""
        row = Endpoint.objects.get(pk=endpoint.pk)
        if row.next_reconcile_at is None:
            return False
        held = row.lease_expires_at if row.lease_token else None
        self.now = max(self.now, row.next_reconcile_at, held or self.now)
        self.now += timedelta(milliseconds=1)
        loop.reconcile_one(self.kind, row.pk, now=self.now)
        return True

    def run(self, endpoint: Endpoint, until: Callable[[], bool], *, passes: int = 300) -> None:
        for _ in range(passes):
            if until():
                return
            self.step(endpoint)
        shown = endpoint.revisions.order_by("number").values_list("number", "state", "problem")
        raise AssertionError(f"not so after {passes} passes: {list(shown)}")

    def settled(self, endpoint: Endpoint) -> bool:
        """Return whether nothing is left to do for a while."""
        row = Endpoint.objects.get(pk=endpoint.pk)
        return row.next_reconcile_at is None or row.next_reconcile_at - self.now > d.GRACE


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def admin() -> Any:
    return factories.actor_with(Role.ADMIN)


def served(admin: Any, *, of: Endpoint | None = None, **how: Any) -> Endpoint:
    version = factories.version(model=of.model if of else None)
    factories.variant(version=version)
    return services.serve(
        actor=admin, model=version.model.name, version=version.number, environment="dev", **how
    ).endpoint


def states(endpoint: Endpoint) -> list[str]:
    return [r.state for r in endpoint.revisions.order_by("number")]


def revision(endpoint: Endpoint, number: int) -> Revision:
    return endpoint.revisions.get(number=number)


def test_a_first_revision_becomes_live_and_a_second_replaces_it(house: House, admin: Any) -> None:
    endpoint = served(admin)
    house.run(endpoint, lambda: states(endpoint) == ["live"])
    served(admin, of=endpoint)
    house.run(endpoint, lambda: states(endpoint) == ["draining", "live"])
    house.run(endpoint, lambda: states(endpoint) == ["retired", "live"])
    weights = [(r.weight_of(1), r.weight_of(2)) for r in house.router.applied]
    steps = list(dict.fromkeys(w for w in weights if any(w)))
    assert steps == [(100, 0), (90, 10), (0, 100)]
    assert house.servers.known() == {revision(endpoint, 2).public_id}
    assert revision(endpoint, 2).observed_weight == 100


def test_the_last_one_is_kept_warm_before_it_goes(house: House, admin: Any) -> None:
    endpoint = served(admin)
    house.run(endpoint, lambda: states(endpoint) == ["live"])
    served(admin, of=endpoint)
    house.run(endpoint, lambda: states(endpoint) == ["draining", "live"])
    begun = house.now
    house.run(endpoint, lambda: states(endpoint) == ["retired", "live"])
    assert house.now - begun >= d.KEEP_ALIVE - d.HOLD


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ("failing", "server.failed"),
        ("wrong", "golden.answers"),
        ("other", "golden.digest"),
        ("refused", "bundle.corrupt"),
    ],
)
def test_what_goes_wrong_before_weight_leaves_the_live_one_untouched(
    house: House, admin: Any, broken: str, code: str
) -> None:
    endpoint = served(admin)
    house.run(endpoint, lambda: states(endpoint) == ["live"])
    routes = len(house.router.applied)
    match broken:
        case "failing":
            house.servers.failing[2] = Problem("server.failed", "no such operator", "mend it")
        case "wrong":
            house.servers.wrong.add(2)
        case "other":
            house.servers.other_digest.add(2)
        case _:
            house.servers.refuses[2] = Permanent("It has changed.", code="bundle.corrupt")
    served(admin, of=endpoint)
    house.run(
        endpoint,
        lambda: (
            states(endpoint) == ["live", "failed"] and revision(endpoint, 2).ended_at is not None
        ),
    )
    assert revision(endpoint, 2).problem_code == code
    # A candidate may have been put among the proxy's clusters, but never got a request.
    assert all(r.weight_of(1) == 100 for r in house.router.applied[routes:])
    assert house.servers.known() == {revision(endpoint, 1).public_id}


def test_a_route_that_the_proxy_refuses_fails_the_revision(house: House, admin: Any) -> None:
    endpoint = served(admin)
    house.router.refuses.add(endpoint.name)
    house.run(endpoint, lambda: states(endpoint) == ["failed"])
    assert revision(endpoint, 1).problem_code == "envoy.refused"


def test_a_revision_waits_for_memory_and_goes_on_when_there_is_some(
    house: House, admin: Any
) -> None:
    house.servers.free_mb = 50
    endpoint = served(admin)
    house.run(endpoint, lambda: revision(endpoint, 1).problem_code == "endpoint.no_capacity")
    house.servers.free_mb = 5000
    house.run(endpoint, lambda: states(endpoint) == ["live"])
    assert revision(endpoint, 1).problem == ""


def test_a_newer_wish_overtakes_one_on_its_way(house: House, admin: Any) -> None:
    endpoint = served(admin)
    house.run(endpoint, lambda: states(endpoint) == ["starting"])
    served(admin, of=endpoint)
    assert states(endpoint) == ["draining", "pending"]
    house.run(endpoint, lambda: states(endpoint) == ["retired", "live"])


def test_a_first_revision_that_already_answers_goes_on_until_the_next_one_does(
    house: House, admin: Any
) -> None:
    endpoint = served(admin)
    house.run(endpoint, lambda: states(endpoint) == ["shifting"])
    house.run(endpoint, lambda: bool(house.router.applied) and house.router.applied[-1].serves())
    begun = len(house.router.applied)
    served(admin, of=endpoint)
    assert states(endpoint) == ["live", "pending"]
    house.run(endpoint, lambda: states(endpoint)[1] == "live")
    assert all(r.serves() for r in house.router.applied[begun:])


@pytest.mark.parametrize("harm", ["killed", "lost", "altered", "forgotten", "failed"])
def test_harm_is_undone_for_ever(house: House, admin: Any, harm: str) -> None:
    endpoint = served(admin, replicas=2)
    house.run(endpoint, lambda: states(endpoint) == ["live"])
    house.run(endpoint, lambda: house.settled(endpoint))
    name = revision(endpoint, 1).public_id
    before = house.router.observe(endpoint.public_id).route
    assert before is not None
    for _ in range(3):
        match harm:
            case "killed":
                house.servers.kill(name, 0)
            case "lost":
                house.servers.forget(name, 1)
            case "altered":
                house.router.alter(replace(before, shares=(Share(1, 37, (1,)),)))
            case "forgotten":
                house.router.forget_everything()
            case _:
                there = house.servers.replicas[name]
                there[0] = replace(
                    there[0], state=ReplicaState.FAILED, since=house.now.timestamp()
                )
        house.step(endpoint)
        house.run(endpoint, lambda: is_whole(house, endpoint, replicas=2))
        house.run(endpoint, lambda: house.settled(endpoint))


def is_whole(house: House, endpoint: Endpoint, *, replicas: int) -> bool:
    seen = house.router.observe(endpoint.public_id)
    ready = [r for r in revision(endpoint, 1).observed_replicas if r["state"] == "ready"]
    route = seen.route
    return (
        seen.intact
        and route is not None
        and len(ready) == replicas
        and {p for s in route.shares for p in s.ports} == {r["port"] for r in ready}
    )


def test_the_watch_wakes_what_changed_and_nothing_else(house: House, admin: Any) -> None:
    one, other = served(admin), served(admin)
    for endpoint in (one, other):
        house.run(endpoint, lambda e=endpoint: states(e) == ["live"] and house.settled(e))  # type: ignore[misc]
    watch = Watch(house.servers, house.router)
    house.now = Endpoint.objects.get(pk=other.pk).next_reconcile_at - timedelta(seconds=1)
    Endpoint.objects.update(next_reconcile_at=house.now + timedelta(seconds=10))
    assert watch(house.now) == 0
    house.servers.kill(revision(one, 1).public_id, 0)
    assert watch(house.now) == 1
    assert Endpoint.objects.get(pk=one.pk).next_reconcile_at == house.now
    assert Endpoint.objects.get(pk=other.pk).next_reconcile_at > house.now


def test_an_outage_of_the_proxy_is_waited_out_with_short_pauses(house: House, admin: Any) -> None:
    endpoint = served(admin)

    def silent(endpoint: str) -> Any:
        raise Transient("Envoy does not answer.")

    answering, house.router.observe = house.router.observe, silent  # type: ignore[method-assign]
    for _ in range(12):
        begun = house.now
        house.step(endpoint)
        assert house.now - begun <= timedelta(seconds=6)
    house.router.observe = answering  # type: ignore[method-assign]
    house.run(endpoint, lambda: states(endpoint) == ["live"])
    assert Endpoint.objects.get(pk=endpoint.pk).attempts == 0


def test_a_worker_that_lost_its_lease_writes_nothing(house: House, admin: Any) -> None:
    endpoint = served(admin)
    claim = claim_one(Endpoint, endpoint.pk, now=house.now, lease=LEASE)
    assert claim is not None
    Endpoint.objects.filter(pk=endpoint.pk).update(lease_token=None)
    EndpointReconciler(house.servers, house.router)(claim, house.now)
    assert states(endpoint) == ["pending"]


def test_a_command_that_was_overtaken_is_refused_and_looked_at_again(
    house: House, admin: Any
) -> None:
    endpoint = served(admin)
    house.run(endpoint, lambda: states(endpoint) == ["live"])
    route = house.router.routes[endpoint.public_id]
    house.router.generations[endpoint.public_id] = 99
    house.router.alter(replace(route, timeout_ms=1))
    house.step(endpoint)
    assert states(endpoint) == ["live"]
    house.router.generations[endpoint.public_id] = 0
    house.run(endpoint, lambda: house.router.observe(endpoint.public_id).intact)


def dying(seed: int) -> Callable[[str], None]:
    """Return a hook that dies now and then, before calls and after them."""
    chance = random.Random(seed)

    def hook(call: str) -> None:
        if chance.random() < 0.3:
            raise Died(call)

    return hook


@pytest.mark.parametrize("seed", range(8))
def test_a_worker_may_die_before_or_after_any_call(admin: Any, seed: int) -> None:
    """Serve, replace and retire, with a worker that is killed again and again."""
    world = House()
    world.servers.hook = world.router.hook = dying(seed)
    assert journey(world, admin) > 2
    check_end(world)


def test_a_worker_that_dies_after_every_call_still_gets_there(admin: Any) -> None:
    """Every call is made, and its worker dies before it can write down that it made it."""
    world = House()
    begun: set[str] = set()
    died: set[str] = set()

    def hook(call: str) -> None:
        made = world.servers.calls[-1]
        if made in begun and made not in died:
            died.add(made)
            raise Died(call)
        begun.add(made)

    world.servers.hook = hook
    assert journey(world, admin) == len(died) == 8
    check_end(world)


def journey(world: House, admin: Any) -> int:
    """Run an endpoint's whole life, and return how often the worker died."""
    endpoint = served(admin)
    deaths = live_through(world, endpoint, ["live"])
    served(admin, of=endpoint)
    deaths += live_through(world, endpoint, ["retired", "live"])
    assert revision(endpoint, 2).observed_weight == 100
    services.retire(actor=admin, endpoint=endpoint.public_id)
    deaths += live_through(world, endpoint, ["retired", "retired"])
    return deaths + rest(world, endpoint)


def live_through(world: House, endpoint: Endpoint, end: list[str]) -> int:
    deaths = 0
    for _ in range(400):
        if states(endpoint) == end:
            return deaths
        deaths += not survives(world, endpoint)
    raise AssertionError(f"{states(endpoint)} never became {end}")


def rest(world: House, endpoint: Endpoint) -> int:
    deaths = 0
    while Endpoint.objects.get(pk=endpoint.pk).next_reconcile_at is not None:
        deaths += not survives(world, endpoint)
    return deaths


def survives(world: House, endpoint: Endpoint) -> bool:
    try:
        world.step(endpoint)
    except Died:
        return False
    return True


def check_end(world: House) -> None:
    """Nothing is left over, and no request could ever have met a revision that was not ready."""
    assert world.servers.known() == frozenset()
    assert world.router.routes == {}
    for route in world.router.applied:
        assert sum(s.weight for s in route.shares) in (0, 100)
        assert all(s.ports for s in route.shares if s.weight)
    shown = [r.weight_of(2) for r in world.router.applied if r.serves()]
    assert shown == sorted(shown), "the weight of a good revision never falls"
