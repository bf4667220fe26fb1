"""The first line of a release's page: what is so, whose turn it is, what is missing."""

from dataclasses import dataclass

from apps.approvals.domain.quorum import Verdict
from apps.approvals.selectors import RequestView, may_fill
from apps.gates.selectors import GateView
from apps.releases.domain.states import ReleaseState
from apps.releases.web.seen import Seen
from apps.rollouts.domain import document, words

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ENDED = {
    ReleaseState.DECLINED: "was declined",
    ReleaseState.WITHDRAWN: "was withdrawn",
    ReleaseState.EXPIRED: "expired",
    ReleaseState.SUPERSEDED: "was superseded",
    ReleaseState.ROLLED_BACK: "was rolled back",
}


@dataclass(frozen=True)
class Answer:
    """What the head of the page says.

    Attributes:
        title: A fact.
        turn: What is missing, and who can do it.
        mine: Whether it is the reader's turn.
        problem: What a worker cannot get past; "" for nothing.
        remedy: What to do about that.
    """

    title: str
    turn: str
    mine: bool
    problem: str = ""
    remedy: str = ""


def answer(seen: Seen) -> Answer:
    """Return the answer."""
    mine = my_turn(seen)
    return Answer(_title(seen), turn(seen, mine=mine), mine, seen.row.problem, seen.row.remedy)


def my_turn(seen: Seen) -> bool:
    """Return whether the release waits for a decision that the reader could take now."""
    view = seen.request
    if seen.state is not ReleaseState.AWAITING_APPROVAL or view is None:
        return False
    person = seen.actor.person_id
    if person is None or person in view.row.excluded or view.verdict is not Verdict.OPEN:
        return False
    said = any(d.person_id == person for d in view.decisions)
    return not said and may_fill(view.row, seen.stands_for)


def _title(seen: Seen) -> str:
    version, place = seen.row.version, seen.row.environment.slug
    name = f"{version.model.name} v{version.number}"
    if seen.row.returns_to_id is not None and not seen.ended:
        return f"Go back to {name} in {place}"
    if seen.state is ReleaseState.LIVE:
        return f"{name} is live in {place}"
    if seen.state is ReleaseState.ROLLING_OUT:
        return f"{name} is taking over in {place}"
    if seen.ended:
        return f"{name} to {place} {ENDED[seen.state]}"
    return f"Ship {name} to {place}"


def turn(seen: Seen, *, mine: bool) -> str:
    """Return what is missing and who can do it, in a sentence or two."""
    match seen.state:
        case ReleaseState.PROPOSED | ReleaseState.BUILDING:
            return "It waits for a variant: its build has to end first."
        case ReleaseState.CHECKING:
            return _checking(seen)
        case ReleaseState.AWAITING_APPROVAL:
            return _approving(seen.request, mine=mine) if seen.request else "It asks for approval."
        case ReleaseState.AUTHORIZED:
            return _authorized(seen)
        case ReleaseState.ROLLING_OUT:
            return _rolling(seen)
        case ReleaseState.LIVE:
            return _live(seen)
        case _:
            return seen.row.end_reason or "It stays readable."


def _rolling(seen: Seen) -> str:
    row = seen.row.rollout
    if row is not None and row.state == "paused":
        return f"Its rollout stands still: {row.pause_reason}"
    told = words.sentence(document.parse(seen.row.strategy))
    return f"Its replicas start and answer golden requests. Then: {told[:1].lower()}{told[1:]}"


def _checking(seen: Seen) -> str:
    checklist = seen.standing.checklist
    if checklist is None:
        return "Its gates are being listed."
    stops = checklist.blocking
    if not stops:
        return "Every required gate is passed or waived; approval is asked for next."
    failed = [g for g in stops if g.state == "failed"]
    others = len(stops) - len(failed)
    told = [f"{_number(len(failed))} required {_gates(failed)}"] if failed else []
    if others:
        noun = "is" if others == 1 else "are"
        gate = "" if failed else " required gate" if others == 1 else " required gates"
        told.append(
            f"{_number(others).lower() if failed else _number(others)}{gate} {noun} not known yet"
        )
    return f"{' and '.join(told)}. Nobody is asked to approve before that."


def _gates(failed: list[GateView]) -> str:
    return "gate has failed" if len(failed) == 1 else "gates have failed"


def _approving(view: RequestView, *, mine: bool) -> str:
    filled, seats = view.filled, len(view.seats)
    if view.verdict is Verdict.CHANGES:
        asked = next(d for d in reversed(view.decisions) if d.kind == "changes")
        by = asked.person.display_name or asked.person.username
        return f"{by} asked for changes: it is the proposer's turn."
    verb = "is" if filled == 1 else "are"
    have = f"{_number(filled)} of {_number(seats).lower()} approvals {verb} in"
    if filled == 0:
        have = f"It needs {_number(seats).lower()} approval{'' if seats == 1 else 's'}"
    if mine:
        which = "it can be yours" if seats == 1 else f"the {_nth(filled + 1)} can be yours"
        return f"{have}; {which}."
    missing = next((s for s in view.seats if s.filled_by is None), None)
    return f"{have}; it waits for {missing.who}." if missing else f"{have}."


def _authorized(seen: Seen) -> str:
    opening = seen.standing.opening
    said = "It may ship"
    if seen.row.emergency_by:
        said = "It ships without approval"
    elif seen.request is not None:
        said = "Approved"
    if opening.open or seen.row.emergency_by or seen.row.returns_to_id is not None:
        return f"{said}. The rollout starts by itself."
    return f"{said}. {opening.reason} The rollout starts by itself when it opens."


def _live(seen: Seen) -> str:
    if seen.row.review_due_at and not seen.row.reviewed_at:
        return "It was shipped without approval, and its review is still owed."
    return "It answers every request there."


def _number(count: int) -> str:
    return NUMBERS[count].capitalize() if count < len(NUMBERS) else f"{count:,}"


def _nth(place: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(place, f"{place}th")
