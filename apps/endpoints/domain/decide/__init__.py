"""What an endpoint should do next.

`decide` is the whole policy of the minimal rollout and of what comes after it. It is a pure
function from what was asked for and what is seen to one action. It never ends: an endpoint that
is live is compared with what is asked for, for ever.

A new revision goes through capacity, processes ready, warm, golden requests answered by its own
digest, weight. Until it has weight, whatever happens to it leaves the live one untouched.

A rollout says by a trial how much weight, and when that may become the whole; without one a new
revision climbs by itself.
"""

from datetime import UTC, datetime, timedelta

from apps.endpoints.domain.decide import traffic
from apps.endpoints.domain.decide.actions import (
    Action,
    AskGolden,
    Call,
    End,
    Move,
    Note,
    PutRoute,
    RemoveRoute,
    Rest,
    Settle,
    StartServers,
    StopServers,
    Wait,
    WarmUp,
)
from apps.endpoints.domain.decide.facts import HOLD, KEEP_ALIVE, ON_ITS_WAY, EndpointFacts
from apps.endpoints.domain.states import RevisionMove
from apps.endpoints.domain.states import RevisionState as S
from apps.endpoints.domain.values import (
    WHOLE,
    Problem,
    ReplicaState,
    RevisionFacts,
    Servers,
    ServerSpec,
)

__all__ = [
    "HOLD", "KEEP_ALIVE", "ON_ITS_WAY", "Action", "AskGolden", "Call", "End", "EndpointFacts",
    "Move", "Note", "PutRoute", "RemoveRoute", "Rest", "Settle", "StartServers", "StopServers",
    "Wait", "WarmUp", "decide", "traffic",
]  # fmt: skip

GRACE = timedelta(seconds=2)  # between the last request that may arrive and the stop
TRY_AGAIN = 30.0  # seconds after a live server gave up before it is started again
PATIENCE = 2.0  # times a runtime's own limit, for all replicas to be ready

MOVING = timedelta(seconds=0.3)  # until the next look while something is on its way
STEADY = timedelta(seconds=60)  # and otherwise; the watch sees most changes long before
WAITING = timedelta(seconds=3)  # for memory
UNREADY = timedelta(seconds=1)  # for a live server that is coming back


def decide(facts: EndpointFacts) -> Action:
    """Return the one thing to do next.

    1. The route: who may answer comes before everything else.
    2. What must go: servers that no request can reach any more.
    3. What is live: its servers are as asked for.
    4. What is on its way: its next step.
    """
    return (
        traffic.mend(facts)
        or _clear_away(facts)
        or _keep_live(facts)
        or _go_on(facts)
        or _pause(facts)
    )


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
    if facts.makes_room():
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
        trial = facts.on_trial()
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
    live, trial = facts.the(S.LIVE), facts.on_trial()
    if trial is not None and not trial.settle:
        return Wait(STEADY)  # the rollout says when; the watch sees what changes meanwhile
    whole = facts.seen_weight(candidate) == WHOLE
    # The very first revision takes nothing from anybody: there is nothing to hold for.
    if whole and (live is None or facts.held(candidate, WHOLE)):
        return Settle(candidate.spec.revision, live.spec.revision if live else None)
    return Wait(MOVING)


def _pause(facts: EndpointFacts) -> Action:
    if facts.retired and not facts.revisions:
        return Rest()
    draining = any(r.state == S.DRAINING for r in facts.revisions)
    live = facts.the(S.LIVE)
    unready = live is not None and len(facts.ports(live)) < live.spec.replicas
    return Wait(UNREADY if unready else GRACE if draining else STEADY)
