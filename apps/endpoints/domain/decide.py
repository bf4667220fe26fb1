"""What an endpoint should do next.

`decide` is the whole policy of the minimal rollout and of what comes after it. It is a pure
function from what was asked for and what is seen to one action. It never ends: an endpoint that
is live is compared with what is asked for, for ever.

A new revision goes through capacity, processes ready, warm, golden requests answered by its own
digest, weight. Until it has weight, whatever happens to it leaves the live one untouched.

A rollout says by a trial how much weight, and when that may become the whole; without one a new
revision climbs by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from apps.endpoints.domain import routing
from apps.endpoints.domain.states import RevisionMove, RevisionState
from apps.endpoints.domain.values import (
    WHOLE,
    Problem,
    ReplicaState,
    RevisionFacts,
    Route,
    RouteSeen,
    Servers,
    ServerSpec,
    Share,
    Trial,
)

STEPS = (10, WHOLE)  # percent of requests, rung by rung; each is seen in place before the next
HOLD = timedelta(seconds=1)  # for how long a weight must be seen in place
KEEP_ALIVE = timedelta(seconds=60)  # for how long the last revision stays warm, if nobody says
GRACE = timedelta(seconds=2)  # between the last request that may arrive and the stop
TRY_AGAIN = 30.0  # seconds after a live server gave up before it is started again
PATIENCE = 2.0  # times a runtime's own limit, for all replicas to be ready

MOVING = timedelta(seconds=0.3)  # until the next look while something is on its way
STEADY = timedelta(seconds=60)  # and otherwise; the watch sees most changes long before
WAITING = timedelta(seconds=3)  # for memory
UNREADY = timedelta(seconds=1)  # for a live server that is coming back

S = RevisionState
ON_ITS_WAY = (S.PENDING, S.STARTING, S.WARMING, S.VERIFYING, S.SHIFTING)
WITH_SERVERS = (S.STARTING, S.WARMING, S.VERIFYING, S.SHIFTING, S.LIVE)


@dataclass(frozen=True)
class EndpointFacts:
    """What was asked of an endpoint, and what is seen.

    Attributes:
        at: When it was looked at (UTC).
        retired: Whether nothing should answer any more.
        route: The endpoint's address, limits and keys; its shares are not looked at.
        revisions: All that have not ended, in the order of their numbers.
        seen: What the proxy does.
        servers: By revision public id, what is there of each.
        free_memory_mb: What new servers may take.
        trial: How a rollout wants requests split; None when there is none.
        keep_warm: For how long the last revision that was live stays warm.
    """

    at: datetime
    retired: bool
    route: Route
    revisions: tuple[RevisionFacts, ...]
    seen: RouteSeen
    servers: Mapping[str, Servers]
    free_memory_mb: int
    trial: Trial | None = None
    keep_warm: timedelta = KEEP_ALIVE

    def the(self, *states: RevisionState) -> RevisionFacts | None:
        """Return the newest revision in one of `states`."""
        return next((r for r in reversed(self.revisions) if r.state in states), None)


@dataclass(frozen=True)
class PutRoute:
    """Put this route in force."""

    route: Route


@dataclass(frozen=True)
class RemoveRoute:
    """Let nothing answer at the address."""


@dataclass(frozen=True)
class StartServers:
    """Bring a revision's servers toward what it asks for."""

    spec: ServerSpec


@dataclass(frozen=True)
class StopServers:
    """Stop all of a revision's servers."""

    revision: str


@dataclass(frozen=True)
class WarmUp:
    """Make a revision's servers answer their first requests."""

    spec: ServerSpec


@dataclass(frozen=True)
class AskGolden:
    """Put the golden requests to a revision's servers."""

    spec: ServerSpec


@dataclass(frozen=True)
class Move:
    """Move one revision, because of `problem` where there is one."""

    revision: str
    move: RevisionMove
    problem: Problem | None = None


@dataclass(frozen=True)
class Settle:
    """Make a revision the live one, and let the one before it drain."""

    revision: str
    drained: str | None


@dataclass(frozen=True)
class End:
    """Nothing is left of a failed revision: leave it alone from now on."""

    revision: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do for `pause`; `problem` says what a revision waits for, where it waits."""

    pause: timedelta
    revision: str = ""
    problem: Problem | None = None


@dataclass(frozen=True)
class Rest:
    """Nothing to do until somebody asks for something."""


# A pass makes one call to the world, or writes down one thing.
Call = PutRoute | RemoveRoute | StartServers | StopServers | WarmUp | AskGolden
Note = Move | Settle | End | Wait | Rest
Action = Call | Note


def decide(facts: EndpointFacts) -> Action:
    """Return the one thing to do next.

    1. The route: who may answer comes before everything else.
    2. What must go: servers that no request can reach any more.
    3. What is live: its servers are as asked for.
    4. What is on its way: its next step.
    """
    return (
        _mend_route(facts)
        or _clear_away(facts)
        or _keep_live(facts)
        or _go_on(facts)
        or _pause(facts)
    )


def wanted_route(facts: EndpointFacts) -> Route | None:
    """Return the route that should be in force; None when nothing should answer there."""
    held = [r for r in facts.revisions if _in_route(facts, r)]
    if facts.retired and not held:
        return None
    weights = {} if facts.retired else _weights(facts)
    shares = tuple(Share(r.number, weights.get(r.number, 0), _ports(facts, r)) for r in held)
    route = replace(facts.route, shares=shares, unavailable=_why_nobody(facts))
    # What the proxy cannot do would differ from what it does for ever, and be asked for again.
    return route if facts.retired else routing.possible(_on_trial(route, facts))


def trial_in_force(facts: EndpointFacts) -> Trial | None:
    """Return what the proxy is seen to do with the candidate, beside what cannot be seen there.

    Returns:
        None when there is no trial, or the proxy does nothing with the candidate.
    """
    trial, route = _trial(facts), facts.seen.route
    if trial is None or route is None or route.candidate != trial.candidate:
        return None
    return replace(
        trial,
        weight=route.weight_of(trial.candidate),
        mirror=route.mirror,
        preview=route.preview,
        sticky=route.sticky,
        segments=route.segments,
        faulty=route.faulty,
    )


def _on_trial(route: Route, facts: EndpointFacts) -> Route:
    """Add what the proxy does with the candidate, besides giving it weight."""
    trial, candidate = _trial(facts), facts.the(S.SHIFTING)
    if trial is None or candidate is None or not _ports(facts, candidate):
        return route
    return replace(
        route,
        candidate=trial.candidate,
        mirror=trial.mirror,
        preview=trial.preview,
        sticky=trial.sticky,
        segments=trial.segments,
        faulty=trial.faulty,
    )


def _trial(facts: EndpointFacts) -> Trial | None:
    """Return the trial, if it is about what is on its way."""
    candidate = facts.the(*ON_ITS_WAY)
    wanted = facts.trial
    about = wanted is not None and candidate is not None and wanted.candidate == candidate.number
    return wanted if about else None


def _makes_room(facts: EndpointFacts) -> bool:
    """Return whether the live revision's servers go before the candidate's come."""
    trial = _trial(facts)
    return trial is not None and trial.alone and not trial.waits


def _mend_route(facts: EndpointFacts) -> Action | None:
    wanted = wanted_route(facts)
    if wanted is None:
        return RemoveRoute() if facts.seen.route is not None else None
    as_wanted = facts.seen.intact and facts.seen.route == wanted
    return None if as_wanted else PutRoute(wanted)


def _in_route(facts: EndpointFacts, revision: RevisionFacts) -> bool:
    """Return whether the proxy should know the revision, with or without weight."""
    if revision.state in (S.SHIFTING, S.LIVE):
        return True
    # One that drains or failed keeps its place, without weight, while it has servers, so that
    # what it still answers is not cut off.
    known = facts.seen.route is not None and any(
        s.number == revision.number for s in facts.seen.route.shares
    )
    return known and revision.spec.revision in facts.servers


def _weights(facts: EndpointFacts) -> dict[int, int]:
    live, candidate = facts.the(S.LIVE), facts.the(S.SHIFTING)
    if _makes_room(facts):
        live = None
    stable = live if live and _ports(facts, live) else None
    if candidate is None or not _ports(facts, candidate):
        return {stable.number: WHOLE} if stable else {}
    trial = _trial(facts)
    if trial is not None and live is not None:
        # Never more than was asked for, even while none of the live one's servers answers.
        return _split(candidate, live, trial.weight) if stable or trial.weight else {}
    if stable is None:
        return {candidate.number: WHOLE}
    return _split(candidate, stable, _next_weight(facts, candidate))


def _split(candidate: RevisionFacts, stable: RevisionFacts, weight: int) -> dict[int, int]:
    return {candidate.number: weight, stable.number: WHOLE - weight}


def _next_weight(facts: EndpointFacts, candidate: RevisionFacts) -> int:
    """Return the rung for `candidate`: the one it stands on, or the next once that has held."""
    seen = _seen_weight(facts, candidate)
    if seen not in STEPS:
        return STEPS[0]
    rung = STEPS.index(seen)
    if rung + 1 < len(STEPS) and _held(facts, candidate, seen):
        return STEPS[rung + 1]
    return seen


def _held(facts: EndpointFacts, revision: RevisionFacts, weight: int) -> bool:
    since = revision.weight_since
    return revision.weight == weight and since is not None and facts.at - since >= HOLD


def _seen_weight(facts: EndpointFacts, revision: RevisionFacts) -> int:
    return facts.seen.route.weight_of(revision.number) if facts.seen.route else 0


def _ports(facts: EndpointFacts, revision: RevisionFacts) -> tuple[int, ...]:
    servers = facts.servers.get(revision.spec.revision)
    return servers.ready_ports(below=revision.spec.replicas) if servers else ()


def _why_nobody(facts: EndpointFacts) -> str:
    if facts.retired:
        return "This endpoint has been retired."
    if _makes_room(facts):
        return "This endpoint's revision is being replaced. Try again in a few seconds."
    if facts.the(S.LIVE):
        return "None of this endpoint's model servers is ready. They are being started again."
    return "This endpoint has no revision that is ready yet. Try again in a few seconds."


def _clear_away(facts: EndpointFacts) -> Action | None:
    for revision in facts.revisions:
        there = revision.spec.revision in facts.servers
        if revision.state == S.DRAINING and not there:
            return Move(revision.spec.revision, RevisionMove.RETIRE)
        if revision.state == S.DRAINING and _drained(facts, revision):
            return StopServers(revision.spec.revision)
        if revision.state == S.FAILED:
            return StopServers(revision.spec.revision) if there else End(revision.spec.revision)
    return None


def _drained(facts: EndpointFacts, revision: RevisionFacts) -> bool:
    """Return whether the servers may go: kept warm long enough, with no request on its way."""
    if not revision.was_live and revision.weight_since is None:
        return True  # no request ever reached it
    last = facts.the(S.DRAINING)
    stays = revision.was_live and not facts.retired and (last is None or last is revision)
    wait = facts.keep_warm if stays else GRACE
    last_change = max(revision.state_since, revision.weight_since or revision.state_since)
    return facts.at - last_change >= max(wait, GRACE)


def _keep_live(facts: EndpointFacts) -> Action | None:
    live = facts.the(S.LIVE)
    if live is None:
        return None
    servers = facts.servers.get(live.spec.revision)
    if _makes_room(facts):
        return _make_room(facts, live) if servers else None
    if servers is None or _differs(servers, live.spec):
        return StartServers(live.spec)
    gave_up_at = [r.since for r in servers.replicas if r.state is ReplicaState.FAILED]
    rested = bool(gave_up_at) and facts.at.timestamp() - max(gave_up_at) >= TRY_AGAIN
    return StartServers(live.spec) if rested else None


def _make_room(facts: EndpointFacts, live: RevisionFacts) -> Action:
    """Stop the live revision's servers, once no request can be on its way to them."""
    since = live.weight_since or live.state_since
    quiet = live.weight == 0 and facts.at - since >= GRACE
    return StopServers(live.spec.revision) if quiet else Wait(MOVING)


def _differs(servers: Servers, spec: ServerSpec) -> bool:
    """Return whether the servers are not what is asked for, beyond their own failures."""
    missing = any(r.state is ReplicaState.MISSING for r in servers.replicas)
    return missing or len(servers.replicas) != spec.replicas


def _go_on(facts: EndpointFacts) -> Action | None:
    candidate = facts.the(*ON_ITS_WAY)
    if candidate is None:
        return None
    if candidate.state == S.PENDING:
        trial = _trial(facts)
        return Wait(WAITING) if trial and trial.waits else _begin(facts, candidate)
    servers = facts.servers.get(candidate.spec.revision)
    if problem := _failure(facts, candidate, servers):
        return Move(candidate.spec.revision, RevisionMove.FAIL, problem)
    if servers is None or _differs(servers, candidate.spec):
        return StartServers(candidate.spec)
    if not _all_ready(servers, candidate.spec):
        return Wait(MOVING)
    return _climb(facts, candidate)


def _begin(facts: EndpointFacts, candidate: RevisionFacts) -> Action:
    needed = candidate.memory_mb * candidate.spec.replicas
    if needed <= facts.free_memory_mb:
        return Move(candidate.spec.revision, RevisionMove.START)
    return Wait(
        WAITING,
        candidate.spec.revision,
        Problem(
            "endpoint.no_capacity",
            f"Revision {candidate.number} waits for memory: it needs about {needed} MB, and "
            f"{facts.free_memory_mb} MB are free.",
            "Retire an endpoint, ask for fewer replicas, or serve a smaller variant.",
        ),
    )


def _failure(
    facts: EndpointFacts, candidate: RevisionFacts, servers: Servers | None
) -> Problem | None:
    """Return why the candidate cannot go on, if it cannot."""
    if servers is not None:
        gave_up = any(r.state is ReplicaState.FAILED for r in servers.replicas)
        if gave_up:
            return servers.problem or Problem(
                "server.failed",
                f"The model servers of revision {candidate.number} ended, and said nothing.",
                "Look into the server's log.",
            )
    if servers is None or _all_ready(servers, candidate.spec):
        return None
    limit = timedelta(seconds=candidate.seconds_to_start * PATIENCE)
    if facts.at - _waited_since(facts, candidate, servers) > limit:
        return servers.problem or Problem(
            "server.slow",
            f"The model servers of revision {candidate.number} were not ready within "
            f"{limit.total_seconds():.0f} s.",
            "Look into the server's log; a large model may need a machine with more memory.",
        )
    return None


def _waited_since(facts: EndpointFacts, candidate: RevisionFacts, servers: Servers) -> datetime:
    """Return since when a candidate's servers are waited for.

    It is their own time that counts: with a thousand rollouts beginning at once, a revision may be
    "starting" for a while before anybody comes to start its servers. One that was ready once has
    as long again to come back.
    """
    unready = [r.since for r in servers.replicas if r.state is not ReplicaState.READY]
    known = datetime.fromtimestamp(min(unready), UTC) if any(unready) else None
    if candidate.state == S.SHIFTING:
        return known or facts.at
    return max(candidate.state_since, known or candidate.state_since)


def _all_ready(servers: Servers, spec: ServerSpec) -> bool:
    return len(servers.ready_ports(below=spec.replicas)) == spec.replicas


def _climb(facts: EndpointFacts, candidate: RevisionFacts) -> Action:
    revision = candidate.spec.revision
    match candidate.state:
        case S.STARTING:
            return Move(revision, RevisionMove.WARM)
        case S.WARMING:
            ready = Move(revision, RevisionMove.VERIFY)
            return ready if candidate.warmed else WarmUp(candidate.spec)
        case S.VERIFYING:
            return _verify(candidate)
        case _:
            return _shift(facts, candidate)


def _verify(candidate: RevisionFacts) -> Action:
    golden, spec = candidate.golden, candidate.spec
    if golden is None:
        return AskGolden(spec)
    if golden.digest != spec.digest:
        problem = Problem(
            "golden.digest",
            f"The servers of revision {candidate.number} say that they serve "
            f"{golden.digest or 'nothing'}, not {spec.digest}.",
            "Serve the version again; if it stays so, build it again.",
        )
    elif golden.answered < golden.asked:
        problem = Problem(
            "golden.answers",
            f"{golden.asked - golden.answered} of {golden.asked} golden requests were not "
            f"answered as the original model answers them. {golden.problem}".strip(),
            "Serve another variant, or build the version again.",
        )
    else:
        return Move(spec.revision, RevisionMove.SHIFT)
    return Move(spec.revision, RevisionMove.FAIL, problem)


def _shift(facts: EndpointFacts, candidate: RevisionFacts) -> Action:
    live, trial = facts.the(S.LIVE), _trial(facts)
    if trial is not None and not trial.settle:
        return Wait(STEADY)  # the rollout says when; the watch sees what changes meanwhile
    whole = _seen_weight(facts, candidate) == WHOLE
    # The very first revision takes nothing from anybody: there is nothing to hold for.
    if whole and (live is None or _held(facts, candidate, WHOLE)):
        return Settle(candidate.spec.revision, live.spec.revision if live else None)
    return Wait(MOVING)


def _pause(facts: EndpointFacts) -> Action:
    if facts.retired and not facts.revisions:
        return Rest()
    draining = any(r.state == S.DRAINING for r in facts.revisions)
    live = facts.the(S.LIVE)
    unready = live is not None and len(_ports(facts, live)) < live.spec.replicas
    return Wait(UNREADY if unready else GRACE if draining else STEADY)
