"""The policy of an endpoint, over every situation that its parts can be in together."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from apps.endpoints.domain import decide as d
from apps.endpoints.domain.states import REVISION, RevisionMove, RevisionState
from apps.endpoints.domain.values import (
    Golden,
    Problem,
    Replica,
    ReplicaState,
    RevisionFacts,
    Route,
    RouteSeen,
    Servers,
    ServerSpec,
    Share,
)

S, R = RevisionState, ReplicaState
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WITH_SERVERS = (S.STARTING, S.WARMING, S.VERIFYING, S.SHIFTING, S.LIVE)
LONG_AGO = NOW - timedelta(hours=1)
JUST_NOW = NOW - timedelta(milliseconds=100)
BASE = Route(
    endpoint="abc", generation=5, environment="dev", name="m", shares=(), unavailable="",
    timeout_ms=1000, max_request_bytes=1000, admitted=None,
)  # fmt: skip
OLD, NEW = 1, 2
GOOD = Golden(asked=3, answered=3, digest="sha256:2")


def spec(number: int, replicas: int = 1) -> ServerSpec:
    return ServerSpec(
        revision=f"r{number}", generation=5, name="m", number=number,
        digest=f"sha256:{number}", runtime="onnxruntime", replicas=replicas,
    )  # fmt: skip


def revision(number: int, state: RevisionState, **more: object) -> RevisionFacts:
    known = {"state_since": JUST_NOW, "spec": spec(number), "memory_mb": 100}
    return RevisionFacts(
        number=number,
        state=state,
        seconds_to_start=60,
        **{**known, **more},  # type: ignore[arg-type]
    )


def servers(*states: ReplicaState, number: int = NEW, problem: Problem | None = None) -> Servers:
    alive = (R.READY, R.STARTING)
    replicas = tuple(
        Replica(i, 1000 * number + i, 1 if s in alive else None, s, LONG_AGO.timestamp())
        for i, s in enumerate(states)
    )
    return Servers(generation=5, replicas=replicas, problem=problem)


def facts(**more: object) -> d.EndpointFacts:
    known = {
        "at": NOW, "retired": False, "route": BASE, "revisions": (), "seen": RouteSeen(),
        "servers": {}, "free_memory_mb": 1000,
    }  # fmt: skip
    return d.EndpointFacts(**{**known, **more})  # type: ignore[arg-type]


def as_wanted(situation: d.EndpointFacts) -> d.EndpointFacts:
    """Return the situation once its route has been put in force."""
    return replace(situation, seen=RouteSeen(d.traffic.wanted(situation), True))


@dataclass(frozen=True)
class Situation:
    """One combination, and the facts that it means."""

    coming: RevisionState | None
    coming_servers: tuple[ReplicaState, ...] | None
    live: bool
    live_servers: tuple[ReplicaState, ...] | None
    weight: int | None
    held: bool
    golden: Golden | None
    warmed: bool
    retired: bool
    intact: bool

    def facts(self) -> d.EndpointFacts:
        revisions, there, shares = [], {}, []
        if self.live:
            revisions.append(
                revision(OLD, S.DRAINING if self.retired else S.LIVE, was_live=True,
                         weight=100 - (self.weight or 0), weight_since=LONG_AGO)
            )  # fmt: skip
            shares.append(Share(OLD, 100 - (self.weight or 0), (1000,)))
            if self.live_servers is not None:
                there["r1"] = servers(*self.live_servers, number=OLD)
        if self.coming:
            since = LONG_AGO if self.held else JUST_NOW
            revisions.append(
                revision(NEW, self.coming, golden=self.golden, warmed=self.warmed,
                         weight=self.weight or 0, weight_since=since if self.weight else None)
            )  # fmt: skip
            if self.weight is not None:
                shares.append(Share(NEW, self.weight, (2000,)))
            if self.coming_servers is not None:
                there["r2"] = servers(*self.coming_servers)
        route = replace(BASE, shares=tuple(shares)) if shares else None
        return facts(
            revisions=tuple(revisions), servers=there, retired=self.retired,
            seen=RouteSeen(route, self.intact),
        )  # fmt: skip


SERVERS = (None, (R.STARTING,), (R.READY,), (R.CRASHING,), (R.FAILED,), (R.MISSING,))
GOLDENS = (None, GOOD, replace(GOOD, answered=2), replace(GOOD, digest="sha256:9"))
NEVER_ASKED = ((None, False),)
BY_STATE = {  # what the policy looks at only in that state: (weight, held), (golden, warmed)
    None: ((None, False),), S.PENDING: ((None, False),), S.STARTING: ((None, False),),
    S.WARMING: ((None, False),), S.VERIFYING: ((None, False), (10, True)),
    S.SHIFTING: tuple(product((None, 0, 10, 37, 100), (True, False))),
    S.DRAINING: tuple(product((None, 0, 10, 100), (True, False))),
    S.FAILED: tuple(product((None, 0, 10, 100), (True, False))),
}  # fmt: skip


def situations() -> Iterator[Situation]:
    for coming, weights in BY_STATE.items():
        asked = tuple(product(GOLDENS, (True, False)))
        golden = asked if coming in (S.WARMING, S.VERIFYING) else NEVER_ASKED
        for of_new, live, of_old, (weight, held), (answer, warmed), retired, intact in product(
            SERVERS if coming else (None,), (True, False), SERVERS, weights, golden,
            (True, False), (True, False),
        ):  # fmt: skip
            if retired and coming not in (None, S.DRAINING, S.FAILED):
                continue  # retiring drains whatever is on its way, in the same transaction
            yield Situation(
                coming, of_new, live, of_old, weight, held, answer, warmed, retired, intact
            )


def test_in_every_situation_the_action_is_safe() -> None:
    count = 0
    for situation in situations():
        seen = situation.facts()
        check(seen, d.decide(seen), situation)
        count += 1
    assert count > 5_000


def check(seen: d.EndpointFacts, action: d.Action, situation: Situation) -> None:
    by_id = {r.spec.revision: r for r in seen.revisions}
    match action:
        case d.PutRoute(route):
            assert route != seen.seen.route or not seen.seen.intact, situation
            check_route(seen, route, situation)
        case d.Move(name, move, problem):
            REVISION.after(RevisionState(by_id[name].state), move)
            assert (move is RevisionMove.FAIL) == (problem is not None), situation
        case d.Settle(name, drained):
            REVISION.after(RevisionState(by_id[name].state), RevisionMove.SETTLE)
            assert seen.seen.route is not None
            assert seen.seen.route.weight_of(by_id[name].number) == 100, situation
            assert drained is None or by_id[drained].state == S.LIVE
        case d.StopServers(name):
            assert by_id[name].state in (S.DRAINING, S.FAILED), situation
            assert not (seen.seen.route and seen.seen.route.weight_of(by_id[name].number))
        case d.StartServers(what) | d.WarmUp(what) | d.AskGolden(what):
            assert by_id[what.revision].state in WITH_SERVERS, situation
        case d.RemoveRoute():
            assert seen.retired
        case d.Rest():
            assert seen.retired, situation
        case d.End(name):
            assert by_id[name].state == S.FAILED
            assert name not in seen.servers
        case d.Wait(pause):
            assert pause > timedelta(0), situation


def check_route(seen: d.EndpointFacts, route: Route, situation: Situation) -> None:
    weights = [s.weight for s in route.shares]
    assert sum(weights) in (0, 100), situation
    assert all(s.ports for s in route.shares if s.weight), situation
    state = {r.number: r.state for r in seen.revisions}
    assert all(state[s.number] in (S.LIVE, S.SHIFTING) for s in route.shares if s.weight)
    live_ready = situation.live and situation.live_servers == (R.READY,) and not seen.retired
    if live_ready and state.get(NEW) != S.SHIFTING:
        assert route.weight_of(OLD) == 100, situation
    if live_ready:
        assert route.serves(), situation
    if seen.retired:
        assert not route.serves(), situation


@pytest.mark.parametrize(
    ("weight", "held", "then"), [(0, True, 10), (10, False, 10), (10, True, 100), (37, True, 10)]
)
def test_a_candidate_climbs_only_from_a_weight_that_was_seen_to_hold(
    weight: int, held: bool, then: int
) -> None:
    seen = Situation(
        S.SHIFTING, (R.READY,), True, (R.READY,), weight, held, GOOD, True, False, True
    ).facts()
    wanted = d.traffic.wanted(seen)
    assert wanted is not None
    assert (wanted.weight_of(NEW), wanted.weight_of(OLD)) == (then, 100 - then)


def test_the_first_revision_gets_everything_at_once_and_settles_without_a_hold() -> None:
    first = facts(
        revisions=(revision(1, S.SHIFTING, golden=GOOD),), servers={"r1": servers(R.READY)}
    )
    action = d.decide(first)
    assert isinstance(action, d.PutRoute)
    assert action.route.weight_of(1) == 100
    assert d.decide(as_wanted(first)) == d.Settle("r1", None)


def test_a_candidate_that_dies_while_shifting_loses_its_weight_before_it_fails() -> None:
    dead = Situation(
        S.SHIFTING, (R.FAILED,), True, (R.READY,), 10, True, GOOD, True, False, True
    ).facts()
    action = d.decide(dead)
    assert isinstance(action, d.PutRoute)
    assert action.route.weight_of(OLD) == 100
    after = d.decide(as_wanted(dead))
    assert isinstance(after, d.Move)
    assert after.move is RevisionMove.FAIL


def test_without_memory_a_revision_waits_and_says_for_what() -> None:
    pending = revision(1, S.PENDING, memory_mb=5000)
    action = d.decide(as_wanted(facts(revisions=(pending,))))
    assert isinstance(action, d.Wait)
    assert action.problem is not None
    assert "5000 MB" in action.problem.sentence


def test_a_server_that_is_not_ready_in_time_fails_the_revision() -> None:
    slow = as_wanted(
        facts(
            revisions=(revision(1, S.STARTING, state_since=LONG_AGO),),
            servers={"r1": servers(R.STARTING)},
        )
    )
    action = d.decide(slow)
    assert isinstance(action, d.Move)
    assert action.problem is not None
    assert action.problem.code == "server.slow"


def test_a_revision_that_nobody_came_to_start_is_started_and_not_failed() -> None:
    starting = revision(1, S.STARTING, state_since=LONG_AGO)
    late = as_wanted(facts(revisions=(starting,)))
    assert isinstance(d.decide(late), d.StartServers)
    young = replace(servers(R.STARTING).replicas[0], since=JUST_NOW.timestamp())
    begun = replace(late, servers={"r1": Servers(generation=5, replicas=(young,))})
    assert isinstance(d.decide(begun), d.Wait)


def test_the_revision_before_stays_warm_for_a_while_and_is_then_stopped() -> None:
    def drained(ago: timedelta) -> d.EndpointFacts:
        old = revision(
            OLD, S.DRAINING, was_live=True, weight_since=NOW - ago, state_since=NOW - ago
        )
        live = revision(NEW, S.LIVE, was_live=True, weight=100, weight_since=NOW - ago)
        both = {"r1": servers(R.READY, number=OLD), "r2": servers(R.READY)}
        shares = (Share(OLD, 0, (1000,)), Share(NEW, 100, (2000,)))
        return as_wanted(
            facts(
                revisions=(old, live),
                servers=both,
                seen=RouteSeen(replace(BASE, shares=shares)),
            )
        )

    assert d.decide(drained(d.KEEP_ALIVE - timedelta(seconds=1))) == d.Wait(d.GRACE)
    assert d.decide(drained(d.KEEP_ALIVE)) == d.StopServers("r1")


def test_a_retired_endpoint_answers_nobody_stops_everything_and_rests() -> None:
    draining = revision(1, S.DRAINING, was_live=True, weight_since=LONG_AGO, state_since=LONG_AGO)
    there = facts(
        retired=True,
        revisions=(draining,),
        servers={"r1": servers(R.READY, number=1)},
        seen=RouteSeen(replace(BASE, shares=(Share(1, 100, (1000,)),))),
    )
    action = d.decide(there)
    assert isinstance(action, d.PutRoute)
    assert not action.route.serves()
    assert "retired" in action.route.unavailable
    assert d.decide(as_wanted(there)) == d.StopServers("r1")
    gone = replace(there, servers={})
    assert d.decide(gone) == d.RemoveRoute()
    assert d.decide(replace(gone, seen=RouteSeen())) == d.Move("r1", RevisionMove.RETIRE)
    assert d.decide(replace(gone, seen=RouteSeen(), revisions=())) == d.Rest()


@pytest.mark.parametrize("failed_ago", [1.0, 29.0, 31.0])
def test_a_live_server_that_gave_up_is_tried_again_after_a_rest(failed_ago: float) -> None:
    live = revision(1, S.LIVE, was_live=True)
    failed = Servers(5, (Replica(0, 1000, None, R.FAILED, NOW.timestamp() - failed_ago),))
    action = d.decide(as_wanted(facts(revisions=(live,), servers={"r1": failed})))
    assert isinstance(action, d.StartServers) == (failed_ago > d.TRY_AGAIN)
