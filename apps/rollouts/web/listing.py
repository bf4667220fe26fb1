"""Rollouts as lines: of the list, and of the front page."""

from collections.abc import Sequence
from dataclasses import dataclass

from apps.endpoints.domain import trials
from apps.endpoints.domain.states import RevisionState
from apps.rollouts import planning
from apps.rollouts.domain import decide as d
from apps.rollouts.domain import words
from apps.rollouts.domain.states import ROLLOUT, RolloutState
from apps.rollouts.models import Rollout
from apps.rollouts.web import answer
from apps.rollouts.web.ladder import mini
from controlplane.kernel.errors import Invalid

STATES = ("running", *map(str, RolloutState), "ended")


@dataclass(frozen=True)
class Bar:
    """One rung of a small ladder, in percent of its size."""

    place: str
    x: float
    y: int
    width: float
    height: int


@dataclass(frozen=True)
class Line:
    """One rollout.

    Attributes:
        row: The rollout.
        href: Its page.
        title: It as a fact.
        fact: What is so, and what comes next or why it ended.
        rungs: Place and height of each rung of its ladder.
        at: Where it stands on the ladder, for whoever does not see it.
        asks: Whether it waits for a person.
        ended: Whether nothing will happen to it any more.
    """

    row: Rollout
    href: str
    title: str
    fact: str
    rungs: list[tuple[str, int]]
    at: str
    asks: bool
    ended: bool

    @property
    def bars(self) -> list[Bar]:
        """Return every rung as it is drawn."""
        width = 100 / max(1, len(self.rungs))
        return [
            Bar(place, round(n * width, 2), 100 - height, round(width * 0.88, 2), height)
            for n, (place, height) in enumerate(self.rungs)
        ]


def lines(rows: Sequence[Rollout]) -> list[Line]:
    """Return rollouts as lines; no query."""
    return [line(row) for row in rows]


def line(row: Rollout) -> Line:
    """Return one rollout as a line; no query."""
    state = RolloutState(row.state)
    try:
        rungs = mini(row, planning.of(row))
    except Invalid:
        rungs = []
    return Line(
        row=row,
        href=f"/rollouts/{row.public_id}",
        title=answer.title(row),
        fact=_fact(row, state),
        rungs=rungs,
        at=_at(row, rungs),
        asks=state is RolloutState.PAUSED and row.pause != d.PauseKind.PERSON,
        ended=state in ROLLOUT.terminal(),
    )


def _fact(row: Rollout, state: RolloutState) -> str:
    match state:
        case RolloutState.PENDING:
            return row.waits_for or "Room is looked for."
        case RolloutState.PROGRESSING:
            return f"{_traffic(row)} {row.waits_for}".strip()
        case RolloutState.PAUSED:
            by = f"{row.paused_by}: " if row.paused_by else ""
            return f"{_traffic(row)} {by}{row.pause_reason}".strip()
        case RolloutState.PROMOTING:
            return "All requests move over."
        case RolloutState.PROMOTED:
            return f"v{row.candidate.version.number} answers every request."
        case _:
            return row.reason or "Nothing was said about why."


def _traffic(row: Rollout) -> str:
    if RevisionState(row.candidate.state) in d.COMING:
        return "The canary starts."
    weight = row.candidate.observed_weight
    seen = trials.from_json(row.endpoint.trial_seen)
    trial = seen if seen is not None and seen.candidate == row.candidate.number else None
    if not weight and trial is not None:
        if trial.mirror:
            return f"Copies of {words.percent(trial.mirror)} of requests go to the canary."
        if trial.preview:
            return "The canary answers at the preview address only."
    if not weight:
        return "No request goes to the canary yet."
    return f"{words.in_force(weight, trial)} go to the canary."


def _at(row: Rollout, rungs: Sequence[tuple[str, int]]) -> str:
    if row.state == RolloutState.PENDING or not rungs:
        return "not begun"
    return f"step {min(row.step + 1, len(rungs))} of {len(rungs)}"
