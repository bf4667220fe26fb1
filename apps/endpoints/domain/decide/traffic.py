"""Who should answer at an endpoint's address, and with how many of the requests."""

from dataclasses import replace

from apps.endpoints.domain import routing
from apps.endpoints.domain.decide.actions import PutRoute, RemoveRoute
from apps.endpoints.domain.decide.facts import EndpointFacts
from apps.endpoints.domain.states import RevisionState as S
from apps.endpoints.domain.values import WHOLE, RevisionFacts, Route, Share, Trial

STEPS = (10, WHOLE)  # percent of requests, rung by rung; each is seen in place before the next


def mend(facts: EndpointFacts) -> PutRoute | RemoveRoute | None:
    """Return what puts the route right; None while it is."""
    route = wanted(facts)
    if route is None:
        return RemoveRoute() if facts.seen.route is not None else None
    as_wanted = facts.seen.intact and facts.seen.route == route
    return None if as_wanted else PutRoute(route)


def wanted(facts: EndpointFacts) -> Route | None:
    """Return the route that should be in force; None when nothing should answer there."""
    held = [r for r in facts.revisions if _in_route(facts, r)]
    if facts.retired and not held:
        return None
    weights = {} if facts.retired else _weights(facts)
    shares = tuple(Share(r.number, weights.get(r.number, 0), facts.ports(r)) for r in held)
    route = replace(facts.route, shares=shares, unavailable=_why_nobody(facts))
    # What the proxy cannot do would differ from what it does for ever, and be asked for again.
    return route if facts.retired else routing.possible(_on_trial(route, facts))


def in_force(facts: EndpointFacts) -> Trial | None:
    """Return what the proxy is seen to do with the candidate, beside what cannot be seen there.

    Returns:
        None when there is no trial, or the proxy does nothing with the candidate.
    """
    trial, route = facts.on_trial(), facts.seen.route
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
    trial, candidate = facts.on_trial(), facts.the(S.SHIFTING)
    if trial is None or candidate is None or not facts.ports(candidate):
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
    if facts.makes_room():
        live = None
    stable = live if live and facts.ports(live) else None
    if candidate is None or not facts.ports(candidate):
        return {stable.number: WHOLE} if stable else {}
    trial = facts.on_trial()
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
    seen = facts.seen_weight(candidate)
    if seen not in STEPS:
        return STEPS[0]
    rung = STEPS.index(seen)
    if rung + 1 < len(STEPS) and facts.held(candidate, seen):
        return STEPS[rung + 1]
    return seen


def _why_nobody(facts: EndpointFacts) -> str:
    if facts.retired:
        return "This endpoint has been retired."
    if facts.makes_room():
        return "This endpoint's revision is being replaced. Try again in a few seconds."
    if facts.the(S.LIVE):
        return "None of this endpoint's model servers is ready. They are being started again."
    return "This endpoint has no revision that is ready yet. Try again in a few seconds."
