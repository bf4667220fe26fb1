"""A policy, and what one version of it changes, in plain sentences: pure."""

from collections.abc import Iterator
from datetime import timedelta

from apps.gates.domain.policy import OWNER, GateRule, PolicyDocument, Seat

A_NAME = {"reviewer": "a reviewer", "operator": "an operator", "admin": "an admin"}


def diff(before: PolicyDocument, after: PolicyDocument) -> tuple[str, ...]:
    """Return what `after` changes, one sentence each; nothing when it says the same."""
    return (
        *_gates(before, after),
        *_score(before, after),
        *_seats(before, after),
        *_spans(before, after),
        *_emergency(before, after),
        *_strategies(before, after),
        *_supersede(before, after),
    )


def seat(seat: Seat) -> str:
    """Return who may fill a seat: "Operations: an operator of any team"."""
    who = " or ".join(A_NAME[role] for role in seat.roles)
    return f"{seat.title}: {who} of {_team(seat.team)}"


def span(span: timedelta) -> str:
    """Return a time span as a person says it: "72 hours", "14 days", "1 day"."""
    hours = span / timedelta(hours=1)
    if hours >= 96 and hours % 24 == 0:
        return _count(hours / 24, "day")
    return _count(hours, "hour") if hours >= 1 else _count(hours * 60, "minute")


def age(rule: GateRule) -> str:
    """Return how old the evidence of a gate may be."""
    if rule.max_age is None:
        return "as long as the gate itself says"
    return f"at most {_count(rule.max_age / timedelta(days=1), 'day')} old"


def supersede(policy: PolicyDocument) -> str:
    """Return what a newer release does to one that is still open."""
    if policy.supersede == "wait":
        return "A newer release waits until the one before it has ended."
    return "A newer release takes the place of one that is still open."


def emergency(policy: PolicyDocument) -> str:
    """Return whether somebody may ship without approval."""
    rules = policy.emergency
    if not rules.allowed:
        return "Nobody may ship without approval, also not in an emergency."
    return (
        f"In an emergency an operator may ship without approval, for {span(rules.lasts)}; "
        f"a review is due within {span(rules.review_within)}."
    )


def waivers(policy: PolicyDocument) -> str:
    """Return how a gate may be passed without its evidence."""
    if not policy.waivers.longest:
        return "No gate may be waived."
    return f"A waiver holds for at most {span(policy.waivers.longest)}."


def _gates(before: PolicyDocument, after: PolicyDocument) -> Iterator[str]:
    for rule in after.gates:
        was = before.rule(rule.gate)
        yield from _added(rule) if was is None else _changed(was, rule)
    for rule in before.gates:
        if after.rule(rule.gate) is None:
            yield f"{rule.gate} is no longer asked for (it was {_weight(rule)})."


def _added(rule: GateRule) -> Iterator[str]:
    until = f", with evidence {age(rule)}" if rule.max_age is not None else ""
    yield f"{rule.gate} is asked for now ({_weight(rule)}){until}."


def _changed(was: GateRule, rule: GateRule) -> Iterator[str]:
    if was.required != rule.required:
        yield f"{rule.gate} is {_weight(rule)} now (it was {_weight(was)})."
    if was.max_age != rule.max_age:
        yield f"The evidence of {rule.gate} may be {age(rule)} (before: {age(was)})."
    for name in sorted({*was.parameters, *rule.parameters}):
        old, new = was.parameters.get(name), rule.parameters.get(name)
        if old != new:
            yield f"{rule.gate}: {name} is {_value(new)} (it was {_value(old)})."


def _score(before: PolicyDocument, after: PolicyDocument) -> Iterator[str]:
    if before.minimum_score != after.minimum_score:
        yield (
            f"The ML Test Score must be at least {after.minimum_score:g} "
            f"(it was {before.minimum_score:g})."
        )


def _seats(before: PolicyDocument, after: PolicyDocument) -> Iterator[str]:
    old = {s.title: s for s in before.approvals.seats}
    new = {s.title: s for s in after.approvals.seats}
    for title, filled in new.items():
        if title not in old:
            yield f"One more approval is needed. {seat(filled)}."
        elif old[title] != filled:
            yield f"{seat(filled)} (before: {seat(old[title])})."
    for title, filled in old.items():
        if title not in new:
            yield f"One approval less is needed. It was {seat(filled)}."


def _spans(before: PolicyDocument, after: PolicyDocument) -> Iterator[str]:
    was, now = before.approvals, after.approvals
    if was.expires_after != now.expires_after:
        yield (
            f"A request for approval expires after {span(now.expires_after)} "
            f"(it was {span(was.expires_after)})."
        )
    if was.remind_after != now.remind_after:
        yield (
            f"Who has not answered is reminded after {span(now.remind_after)} "
            f"(it was {span(was.remind_after)})."
        )
    if before.waivers != after.waivers:
        yield f"{waivers(after)} Before: {waivers(before)}"


def _emergency(before: PolicyDocument, after: PolicyDocument) -> Iterator[str]:
    if before.emergency != after.emergency:
        yield f"{emergency(after)} Before: {emergency(before)}"


def _strategies(before: PolicyDocument, after: PolicyDocument) -> Iterator[str]:
    if set(before.strategies) != set(after.strategies):
        yield (
            f"Traffic may move by {', '.join(after.strategies)} "
            f"(it was {', '.join(before.strategies)})."
        )


def _supersede(before: PolicyDocument, after: PolicyDocument) -> Iterator[str]:
    if before.supersede != after.supersede:
        yield supersede(after)


def _weight(rule: GateRule) -> str:
    return "required" if rule.required else "advisory"


def _team(team: str | None) -> str:
    if team is None:
        return "any team"
    return "the team that owns the model" if team == OWNER else f"team {team}"


def _value(value: object) -> str:
    return "not set" if value is None else str(value)


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}" + ("" if number == 1 else "s")
