"""The ladder: every step of a rollout by its weight, with what was said of it and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils.timezone import localtime

from apps.analysis.domain.values import Answer
from apps.endpoints.domain.values import WHOLE
from apps.rollouts.domain import words
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Step, Until
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.models import Rollout, RolloutEvent
from apps.rollouts.planning import Planned
from apps.rollouts.telling import Kind
from apps.rollouts.web.answer import lasting
from apps.rollouts.web.seen import Seen

BACK = (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)
CLOCK = "%H:%M"
DATED = "%-d %b, %H:%M"


@dataclass(frozen=True)
class Passage:
    """When one step was passed.

    Attributes:
        seen_at: When it was first seen in force.
        left_at: When it was left.
        reason: Why it was left.
        skipped: Whether somebody skipped it.
    """

    seen_at: datetime | None = None
    left_at: datetime | None = None
    reason: str = ""
    skipped: bool = False


@dataclass(frozen=True)
class Rung:
    """One step as the page draws it.

    Attributes:
        name: "25 %", "Shadow", "Preview".
        height: Of its bar, in percent.
        fill: How much of the bar's width is filled, in percent.
        kind: "mirror" when nobody gets the answers; "" otherwise.
        place: "travelled", "here", "ahead" or "left" for one that was never reached.
        state: Whose tone its word takes; "" for no word.
        word: What was said of it.
        facts: When, how long, what it waits for.
    """

    name: str
    height: int
    fill: float
    place: str
    kind: str = ""
    state: str = ""
    word: str = ""
    facts: list[str] = field(default_factory=list)

    @property
    def top(self) -> int:
        """Return where its bar begins, in percent from above."""
        return WHOLE - self.height


@dataclass(frozen=True)
class Ladder:
    """The panel.

    Attributes:
        rungs: In order; the last one is the whole traffic.
        plan: The strategy in a sentence.
        note: When it began, and how long it takes.
    """

    rungs: list[Rung]
    plan: str
    note: str


def ladder(seen: Seen) -> Ladder:
    """Return the ladder."""
    passed = passages(seen.milestones, len(seen.steps))
    rungs = [_rung(seen, index, step, passed[index]) for index, step in enumerate(seen.steps)]
    return Ladder([*rungs, _whole(seen)], words.sentence(seen.strategy), _note(seen))


def passages(milestones: Sequence[RolloutEvent], steps: int) -> list[Passage]:
    """Return when each step was passed, from the log's milestones, oldest first."""
    found = [Passage() for _ in range(steps)]
    at, skipped = 0, False
    for event in milestones:
        if at >= steps:
            break
        here = found[at]
        match event.kind:
            case Kind.SEEN:
                found[at] = Passage(here.seen_at or event.at)
            case Kind.SKIPPED:
                skipped = True
            case Kind.ADVANCED | Kind.PROMOTED | Kind.ABORTED:
                found[at] = Passage(here.seen_at, event.at, event.reason, skipped)
                at, skipped = at + 1, False
    return found


def mini(row: Rollout, plan: Planned) -> list[tuple[str, int]]:
    """Return the ladder of a list: the place and the height of each rung."""
    ends = len(plan.steps)
    heights = [_height(step, row) for step in plan.steps] + [WHOLE]
    return [(_place(row, index, ends), height) for index, height in enumerate(heights)]


def _place(row: Rollout, index: int, ends: int) -> str:
    state = RolloutState(row.state)
    if state is RolloutState.PROMOTED:
        return "travelled"
    if state in (RolloutState.PENDING, RolloutState.CANCELLED):
        return "ahead" if state is RolloutState.PENDING else "left"
    if index < row.step:
        return "travelled"
    if index > row.step:
        return "left" if state in BACK else "ahead"
    if state in BACK:
        return "back"
    return "here" if index <= ends else "ahead"


def _rung(seen: Seen, index: int, step: Step, passed: Passage) -> Rung:
    place = _place(seen.row, index, len(seen.steps))
    state, word = _said(seen, step, passed, place)
    return Rung(
        name=_name(seen, step, place),
        height=_height(step, seen.row),
        fill=_fill(seen, step, place),
        place=place,
        kind="mirror" if step.mirror else "",
        state=state,
        word=word,
        facts=_facts(seen, step, passed, place),
    )


def _name(seen: Seen, step: Step, place: str) -> str:
    if step.mirror:
        return "Shadow"
    if step.preview:
        return "Preview"
    if step.until is Until.LEARNT and place == "here" and seen.row.allocation:
        if seen.row.allocation["segments"]:
            return "by segment"
        return words.percent(seen.row.allocation["weight"])
    return words.percent(step.weight)


def _height(step: Step, row: Rollout) -> int:
    if step.until is Until.LEARNT and row.allocation:
        return int(row.allocation["weight"])
    return step.mirror or step.weight or 3


def _fill(seen: Seen, step: Step, place: str) -> float:
    if place == "travelled":
        return 100.0
    if place not in ("here", "back"):
        return 0.0
    if step.until in (Until.EXPERIMENT, Until.LEARNT):
        begun, length = seen.row.step_seen_at, step.deadline
    else:
        begun, length = seen.row.endpoint.trial_seen_since if seen.taken_up else None, step.hold
    if begun is None:
        return 0.0
    if not length:
        return 100.0
    return min(100.0, 100.0 * ((seen.now - begun) / length))


def _said(seen: Seen, step: Step, passed: Passage, place: str) -> tuple[str, str]:
    """Return the state and the word of a step."""
    if place == "travelled":
        if passed.skipped:
            return "waived", "Skipped"
        judged = step.until is Until.JUDGED
        return ("not_worse", "Not worse") if judged else ("passed", "Held")
    if place == "back":
        return "rolled_back", "Went back"
    if place != "here":
        return "", ""
    if seen.state is RolloutState.PAUSED:
        return "paused", "Stands still"
    if seen.coming or not seen.taken_up:
        return "starting", "Starts" if seen.coming else "Not in force yet"
    if step.until is Until.HELD:
        return "progressing", "Held"
    if step.until is Until.JUDGED and seen.standing is not None:
        return _judged(seen.standing.answer)
    return "not_yet", "Not yet decided"


def _judged(answer: Answer) -> tuple[str, str]:
    match answer:
        case Answer.WORSE:
            return "worse", "Worse"
        case Answer.NOT_WORSE:
            return "not_worse", "Not worse"
        case Answer.NOT_YET:
            return "not_yet", "Not yet decided"


def _facts(seen: Seen, step: Step, passed: Passage, place: str) -> list[str]:
    if place in ("travelled", "back"):
        return _passed(passed, seen.now)
    if place == "here" and not seen.coming:
        return _holding(seen, step)
    return _ahead(step)


def _passed(passed: Passage, now: datetime) -> list[str]:
    if passed.seen_at is None:
        return ["never seen in force"] if passed.left_at else []
    if passed.left_at is None:
        return [clock(passed.seen_at, now)]
    held = lasting((passed.left_at - passed.seen_at).total_seconds())
    return [f"{clock(passed.seen_at, now)}, held {held}"]


def _holding(seen: Seen, step: Step) -> list[str]:
    said = []
    if seen.row.step_seen_at is not None:
        said.append(f"since {clock(seen.row.step_seen_at, seen.now)}")
    if seen.held_until is not None and step.hold:
        tense = "ended" if seen.held_until <= seen.now else "ends"
        said.append(
            f"minimum hold of {words.length(step.hold)} {tense} {clock(seen.held_until, seen.now)}"
        )
    return ["; ".join(said)] if said else _ahead(step)


def _ahead(step: Step) -> list[str]:
    parts = [f"holds {words.length(step.hold)}" if step.hold else ""]
    if step.ask:
        parts.append("then a person decides")
    if step.until is Until.LEARNT or step.until is Until.EXPERIMENT:
        parts.append(f"at most {words.length(step.deadline)}" if step.deadline else "")
    return [", ".join(part for part in parts if part)] if any(parts) else []


def _whole(seen: Seen) -> Rung:
    place = _place(seen.row, len(seen.steps), len(seen.steps))
    number = seen.row.candidate.version.number
    facts, state, word = [f"then v{number} is stable"], "", ""
    if seen.row.stable is not None and seen.strategy.keep_warm:
        warm = words.length(seen.strategy.keep_warm)
        facts = [f"then v{number} is stable; v{seen.row.stable.version.number} stays warm {warm}"]
    if place == "travelled":
        state, word = "promoted", "Took over"
        facts = [clock(seen.row.settled_at, seen.now)] if seen.row.settled_at else []
    elif place == "here":
        state, word = "promoting", "Moves over"
        if seen.coming:
            state, word = "starting", "Starts"
    elif place == "back":
        state, word = "rolled_back", "Went back"
    return Rung(
        name=words.percent(WHOLE),
        height=WHOLE,
        fill=100.0 if place == "travelled" else 50.0 if place == "here" and not seen.coming else 0,
        place=place,
        state=state,
        word=word,
        facts=facts,
    )


def _note(seen: Seen) -> str:
    row = seen.row
    begun = f"Begun {clock(row.created_at, seen.now)}"
    if row.ended_at is not None:
        return f"{begun}, ended {clock(row.ended_at, seen.now)}"
    lasts = lasting((seen.now - row.created_at).total_seconds())
    least = _least_left(seen)
    left = (
        f". At least {lasting(least.total_seconds())} to go"
        if least >= timedelta(minutes=1)
        else ""
    )
    return f"{begun}, {lasts} ago{left}"


def _least_left(seen: Seen) -> timedelta:
    """Return how long the steps that are left are held at least."""
    if seen.state not in (RolloutState.PROGRESSING, RolloutState.PAUSED):
        return timedelta(0)
    if seen.strategy.kind in (StrategyKind.AB, StrategyKind.BANDIT):
        return timedelta(0)
    left = sum((step.hold for step in seen.steps[seen.row.step + 1 :]), timedelta(0))
    here = seen.step.hold if seen.step else timedelta(0)
    if seen.held_until is not None:
        here = max(timedelta(0), seen.held_until - seen.now)
    return left + here


def clock(at: datetime, now: datetime) -> str:
    """Return a time of day, with the date when it is not of the day of `now`."""
    here, today = localtime(at), localtime(now)
    return here.strftime(CLOCK if here.date() == today.date() else DATED)
