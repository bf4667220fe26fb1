"""The journey of one release, as stations on a line."""

from dataclasses import dataclass
from datetime import datetime

from apps.builds.models import Build
from apps.gates.selectors import GateView
from apps.releases.domain.states import ReleaseState
from apps.releases.web.seen import Seen
from apps.rollouts.domain import document, words
from apps.rollouts.domain.steps import compile_steps as steps_of
from apps.rollouts.domain.strategy import TITLES

S = ReleaseState
# The station that a state is at, of the seven in `stations`.
AT = {
    S.PROPOSED: 1,
    S.BUILDING: 1,
    S.CHECKING: 3,
    S.AWAITING_APPROVAL: 4,
    S.AUTHORIZED: 5,
    S.ROLLING_OUT: 5,
    S.LIVE: 6,
    S.SUPERSEDED: 6,
    S.ROLLED_BACK: 6,
}
MINI = ("Built", "Proposed", "Checked", "Approval", "Rollout", "Live")


@dataclass(frozen=True)
class Station:
    """One stop.

    Attributes:
        state: Whose tone it takes.
        travelled: "yes", "open" for passed with a question left, "" for not yet.
        here: The release is at it.
        at: When; None when nobody can say.
        at_words: What that time means ("expires"); "" when it is when it happened.
        href: Where more of it is; "" for nowhere.
    """

    name: str
    state: str
    fact: str
    travelled: str = ""
    here: bool = False
    at: datetime | None = None
    at_words: str = ""
    href: str = ""


@dataclass(frozen=True)
class Mini:
    """The line of one release in a list.

    Attributes:
        stations: "travelled", "open", "here" or "ahead", in order.
        words: Where it is, for whoever does not see it.
    """

    stations: tuple[str, ...]
    words: str


def stations(seen: Seen) -> list[Station]:
    """Return the seven stations in order."""
    row, at = seen.row, _at(seen)
    named = [
        ("Registered", _registered(seen), row.version.created_at, ""),
        ("Built", _built(seen), None, ""),
        ("Proposed", _proposed(seen), row.created_at, ""),
        ("Checked", _checked(seen.gates), None, ""),
        ("Approval", _approval(seen), *_approval_time(seen)),
        ("Rollout", _rollout(seen), None, ""),
        ("Live", _live(seen), row.live_at, ""),
    ]
    return [
        Station(
            name,
            _tone(seen, place, at),
            fact,
            _travelled(seen, place, at),
            place == at,
            when,
            words,
            _leads(seen, name),
        )
        for place, (name, fact, when, words) in enumerate(named)
    ]


def mini(state: str, *, open_question: bool = False) -> Mini:
    """Return the line of a release in a list, from its state alone."""
    at = AT.get(S(state))
    if at is None:
        return Mini(("ahead",) * len(MINI), "ended before it shipped")
    here = max(at - 1, 0)
    done = state in (S.LIVE, S.SUPERSEDED)
    kinds = tuple(
        "travelled"
        if place < here or (done and place == here)
        else "here"
        if place == here
        else "ahead"
        for place in range(len(MINI))
    )
    return Mini(kinds, f"at {MINI[here].lower()}")


def _at(seen: Seen) -> int:
    """Return the station that the release is at, or where it ended."""
    known = AT.get(seen.state)
    if known is not None:
        return known
    if seen.row.request is not None:
        return 4
    return 3 if seen.row.checklist is not None else 1


def _tone(seen: Seen, place: int, at: int) -> str:
    if place == at:
        return str(seen.state)
    if place == 3 and any(not g.good for g in seen.gates):
        return "unknown"
    return "succeeded" if place < at else "pending"


def _travelled(seen: Seen, place: int, at: int) -> str:
    if place == 0 or (place == 2 and at <= 2):
        return "yes"
    if place == at and seen.state in (S.LIVE, S.SUPERSEDED):
        return "yes"
    if place >= at:
        return ""
    if place == 3 and any(not g.good or g.waiver for g in seen.gates):
        return "open"
    if place == 3 and not seen.gates:
        return "open"
    return "open" if place == 4 and seen.row.emergency_by else "yes"


def _registered(seen: Seen) -> str:
    version = seen.row.version
    run = f" by run {version.run_id[:8]}" if version.run_id else ""
    commit = f", commit {version.git_commit[:7]}" if version.git_commit else ""
    return f"v{version.number}{run}{commit}"


def _built(seen: Seen) -> str:
    variant = seen.row.variant
    if variant is not None:
        proven = "passed its proof" if variant.verdict == "passed" else "not proven"
        return f"{variant.kind}, {proven}"
    return "Waits for its build" if seen.waiting else "No variant"


def _proposed(seen: Seen) -> str:
    if seen.row.returns_to_id is not None:
        return f"By {seen.row.proposed_by}, to go back"
    return f"By {seen.row.proposed_by}"


def _checked(gates: tuple[GateView, ...]) -> str:
    if not gates:
        return "No gate was looked at"
    counts = {
        "passed": sum(g.state == "passed" for g in gates),
        "waived": sum(g.state == "waived" for g in gates),
        "failed": sum(g.state == "failed" for g in gates),
        "unknown": sum(g.state in ("unknown", "pending") for g in gates),
    }
    rest = [f"{n} {name}" for name, n in counts.items() if n and name != "passed"]
    return ", ".join([f"{counts['passed']} of {len(gates)} passed", *rest])


def _approval(seen: Seen) -> str:
    view = seen.request
    if seen.row.emergency_by:
        return f"Passed by: {seen.row.emergency_by} broke the glass"
    if seen.row.returns_to_id is not None:
        return "Going back needs none"
    if view is None:
        seats = len(seen.rules.approvals.seats) if seen.rules else 0
        return f"{seats} needed" if seats else "Nobody's is needed here"
    return f"{view.filled} of {len(view.seats)}"


def _approval_time(seen: Seen) -> tuple[datetime | None, str]:
    view = seen.request
    if view is None:
        return None, ""
    if view.row.state == "open":
        return view.row.expires_at, "expires"
    return view.row.ended_at, ""


def _leads(seen: Seen, name: str) -> str:
    row = seen.row.rollout
    return f"/rollouts/{row.public_id}" if row is not None and name == "Rollout" else ""


def _rollout(seen: Seen) -> str:
    strategy = document.parse(seen.row.strategy)
    title, row = TITLES[strategy.kind], seen.row.rollout
    if row is None:
        took = words.least_time_words(strategy)
        return f"{title}, takes at least {took}" if took else title
    if row.reason:
        return row.reason
    steps = len(steps_of(strategy, has_stable=row.stable_id is not None))
    if seen.state is S.ROLLING_OUT and row.step < steps:
        return f"{title}, step {row.step + 1} of {steps}"
    return title


def _live(seen: Seen) -> str:
    row = seen.row
    if seen.state is S.ROLLED_BACK:
        return "What was live before answers again"
    alias = row.environment.alias
    if row.live_at is not None:
        return f"{alias} is v{row.version.number}" if alias else "It answers"
    before = f" from v{seen.live.version.number}" if seen.live else ""
    return (
        f"{alias} moves{before} to v{row.version.number}"
        if alias
        else f"v{row.version.number} answers"
    )


def of_build(build: Build | None) -> str:
    """Return what is so with the build that a release waits for."""
    return f"Build {build.number} is at work." if build else "It was not built yet."
