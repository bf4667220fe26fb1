"""The first lines of a rollout's page: what is so, what comes next, and whose turn it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.analysis.domain.values import Answer as Judged
from apps.analysis.domain.words import about
from apps.rollouts import planning
from apps.rollouts.domain import words
from apps.rollouts.domain.decide import PauseKind
from apps.rollouts.domain.states import ROLLOUT, RolloutState
from apps.rollouts.domain.steps import Step, Until
from apps.rollouts.domain.strategy import OnDeadline, StrategyKind
from apps.rollouts.models import Rollout
from apps.rollouts.web.seen import Seen
from controlplane.kernel.figures import spoken

COMING = {
    "pending": "Its servers are about to start.",
    "starting": "Its servers start.",
    "warming": "It answers its first requests, made by us.",
    "verifying": "It is held against golden requests.",
}
DECIDED = {
    PauseKind.STEP: "The plan asks a person here",
    PauseKind.DEADLINE: "The judge had no answer in time",
    PauseKind.ERRORED: "The analysis cannot run",
}


@dataclass(frozen=True)
class Answer:
    """What the head of the page says.

    Attributes:
        title: A fact.
        so: What is so now, in one sentence.
        next: What comes next, and what it depends on.
    """

    title: str
    so: str
    next: str


@dataclass(frozen=True)
class Attention:
    """What must be read before anything else, because it waits or has stopped.

    Attributes:
        state: Whose tone it takes.
        what: Why it waits.
        remedy: What a person can do.
    """

    state: str
    what: str
    remedy: str


def answer(seen: Seen) -> Answer:
    """Return the answer."""
    return Answer(title(seen.row), so(seen), _next(seen))


def title(row: Rollout) -> str:
    """Return a rollout as a fact: "parcel-eta v18 is taking over from v17 in production"."""
    name = f"{row.endpoint.name} v{row.candidate.version.number}"
    place = row.endpoint.environment.slug
    return f"{name} {_rehearses(row) if row.rehearsal else _happens(row)} in {place}"


def _rehearses(row: Rollout) -> str:
    before = f"v{row.stable.version.number}" if row.stable else "nothing"
    done = RolloutState(row.state) in ROLLOUT.terminal()
    return f"{'rehearsed' if done else 'rehearses'} going back to {before}"


def _happens(row: Rollout) -> str:
    before = f"v{row.stable.version.number}" if row.stable else ""
    taking = f"is taking over from {before}" if before else "is starting, as the first,"
    match RolloutState(row.state):
        case RolloutState.PENDING:
            return f"waits to take over from {before}" if before else "waits to start"
        case RolloutState.PROGRESSING:
            return f"{_tried(row)} {before}" if _tried(row) and before else taking
        case RolloutState.PAUSED:
            return f"stands still on its way from {before}" if before else "stands still"
        case RolloutState.PROMOTING:
            return taking
        case RolloutState.ROLLING_BACK:
            return f"is going back to {before}" if before else "is being taken away"
        case RolloutState.PROMOTED:
            return f"took over from {before}" if before else "was the first to answer"
        case RolloutState.ROLLED_BACK:
            return f"was rolled back to {before}" if before else "was taken away"
        case RolloutState.CANCELLED:
            return "was cancelled before it started"


def _tried(row: Rollout) -> str:
    """Return what is done with the candidate beside stable; "" when it takes over."""
    match row.strategy.get("kind"):
        case StrategyKind.AB | StrategyKind.BANDIT:
            return "is on trial against"
        case StrategyKind.SHADOW if row.step == 0:
            return "answers in the shadow of"
        case StrategyKind.BLUE_GREEN if row.step == 0:
            return "is previewed beside"
        case _:
            return ""


def attention(seen: Seen) -> Attention | None:
    """Return what must be read first; None when nothing waits for anybody."""
    if seen.state is RolloutState.PAUSED:
        return _paused(seen)
    fit = seen.row.fit or {}
    if seen.state is RolloutState.PENDING and fit.get("fitting") not in (None, "fits"):
        return Attention("warning", fit.get("sentence", ""), fit.get("remedy", ""))
    if seen.state is RolloutState.ROLLED_BACK and seen.row.reason:
        return Attention("rolled_back", f"Why it went back: {seen.row.reason}", "")
    if seen.standing and seen.standing.problem and not seen.ended:
        remedy = f"{seen.standing.remedy} Until it looks again, nothing goes on by itself."
        return Attention("warning", f"The judge is blind. {seen.standing.problem}", remedy.strip())
    return None


def _paused(seen: Seen) -> Attention:
    row = seen.row
    if row.pause == PauseKind.PERSON:
        why = f"{row.paused_by} paused it: {row.pause_reason}"
        return Attention("paused", why, f"Resume goes on where it stands. {_abort(seen)}")
    kind = PauseKind(row.pause)
    stop = "." if row.pause_reason.endswith((".", "!", "?")) else ""
    why = row.pause_reason if row.pause_reason.startswith(DECIDED[kind]) else (
        f"{DECIDED[kind]}. {row.pause_reason}{'' if stop else '.'}"
    )  # fmt: skip
    return Attention("paused", why, f"{_decide(seen, kind)} {_abort(seen)}")


def _decide(seen: Seen, kind: PauseKind) -> str:
    goes = goes_on_to(seen)
    if kind is PauseKind.STEP:
        return f"Resume says that this step is good enough: {goes}."
    if kind is PauseKind.DEADLINE:
        return (
            f"Resume goes on without its answer: {goes}. It goes on by itself as soon as the "
            "judge says “not worse”; more traffic brings that sooner."
        )
    remedy = seen.standing.remedy if seen.standing else ""
    return f"{remedy} It goes on by itself when the analysis runs again.".strip()


def _abort(seen: Seen) -> str:
    stable = seen.row.stable
    return f"Abort sends every request back to v{stable.version.number}." if stable else ""


def so(seen: Seen) -> str:
    """Return what is so now."""
    number = seen.row.candidate.version.number
    before = seen.row.stable.version.number if seen.row.stable else None
    match seen.state:
        case RolloutState.PENDING | RolloutState.CANCELLED:
            return "Nothing of it has started."
        case RolloutState.PROGRESSING | RolloutState.PAUSED:
            return _traffic(seen)
        case RolloutState.PROMOTING:
            return f"All requests move to v{number}."
        case RolloutState.ROLLING_BACK:
            return f"Every request goes back to v{before}." if before else "It is taken away."
        case RolloutState.PROMOTED:
            return f"v{number} answers every request."
        case RolloutState.ROLLED_BACK:
            again = f"v{before} answers every request{_as_before(seen)}."
            return again if before else "Nothing answers, as before."


def _traffic(seen: Seen) -> str:
    """Return where requests go, as it was last seen."""
    trial, candidate = seen.in_force, seen.row.candidate
    if seen.coming:
        return "No request goes to the canary yet."
    if trial is not None and trial.mirror and not candidate.observed_weight:
        copied = words.percent(trial.mirror)
        return f"Copies of {copied} of requests go to the canary; nobody gets its answers."
    if trial is not None and trial.preview and not candidate.observed_weight:
        return "The canary answers at the preview address only."
    if not candidate.observed_weight:
        return "No request goes to the canary yet."
    return f"{words.in_force(candidate.observed_weight, trial)} go to the canary."


def _next(seen: Seen) -> str:
    row = seen.row
    match seen.state:
        case RolloutState.PENDING:
            lacks = (row.fit or {}).get("fitting") not in (None, "fits")
            room = "It starts by itself as soon as there is room."
            return room if lacks else row.waits_for or "Room is looked for."
        case RolloutState.PROGRESSING:
            return _rehearsed(row) if row.rehearsal else _climbing(seen)
        case RolloutState.PAUSED:
            return "It stands still until somebody decides."
        case RolloutState.PROMOTING:
            return row.waits_for
        case RolloutState.ROLLING_BACK:
            return row.reason
        case RolloutState.PROMOTED:
            return _took_over(seen)
        case RolloutState.ROLLED_BACK:
            return _took_back(seen)
        case RolloutState.CANCELLED:
            return row.reason


def _rehearsed(row: Rollout) -> str:
    rule = "Requests of ours are made to fail at its preview address, until it goes back."
    return f"{rule} {row.waits_for}".strip()


def _climbing(seen: Seen) -> str:
    if seen.coming:
        first = words.step_what(seen.strategy, seen.step) if seen.step else ""
        then = f" Then {first[:1].lower()}{first[1:]}." if first else " Then all requests move."
        return f"{COMING.get(seen.row.candidate.state, '')}{then}"
    if seen.step is None:
        return "All requests move over."
    if not seen.taken_up:
        return f"The proxy takes up “{seen.step.name}”."
    if seen.step.until in (Until.EXPERIMENT, Until.LEARNT):
        return _learning(seen)
    return _condition(seen, seen.step)


def _condition(seen: Seen, step: Step) -> str:
    """Return when it goes on, and what that depends on."""
    goes = goes_on_to(seen)
    goes = f"{goes[:1].upper()}{goes[1:]}"
    if step.ask:
        goes = "A person is asked"
    held = _left(seen.held_until, seen.now)
    judged = step.until is Until.JUDGED
    if not judged or _answered(seen):
        return f"{goes} in {about(held)}." if held else f"{goes} now."
    left = seen.standing.remaining_seconds if seen.standing else None
    when = f" in {about(max(left, held))}" if left is not None else ""
    if left is None and held:
        when = f" in {about(held)} at the earliest"
    return f"{goes}{when}, if {missing(seen)} judged not worse."


def _learning(seen: Seen) -> str:
    end = f"{seen.late_at:%-d %B, %H:%M}" if seen.late_at else "its horizon"
    asked = (
        "it goes back" if seen.strategy.on_deadline is OnDeadline.ABORT else "a person is asked"
    )
    waited = f"{seen.row.waits_for} " if seen.row.waits_for else ""
    return f"{waited}Without an answer by {end}, {asked}."


def goes_on_to(seen: Seen) -> str:
    """Return where it goes from here, as a clause."""
    after = seen.row.step + 1
    if after < len(seen.steps):
        step = seen.steps[after]
        return f"it goes to {words.percent(step.weight)}" if step.weight else f"on to {step.name}"
    return f"it goes to {words.percent(100)}"


def missing(seen: Seen) -> str:
    """Return the metrics that are still to be judged not worse, with their verb."""
    left = [
        f"“{m.title}”"
        for m in seen.metrics
        if m.required
        and (m.name not in seen.findings or seen.findings[m.name].answer != Judged.NOT_WORSE)
    ]
    if not left:
        return "it is"
    told = f"{', '.join(left[:-1])} and {left[-1]}" if len(left) > 1 else left[0]
    return f"{told} is" if len(left) == 1 else f"{told} are"


def _answered(seen: Seen) -> bool:
    return seen.standing is not None and seen.standing.answer is Judged.NOT_WORSE


def lasting(seconds: float) -> str:
    """Return a length of time without what nobody reads: no seconds beside minutes."""
    return spoken(seconds // 60 * 60 if seconds >= 120 else seconds)


def _left(until: datetime | None, now: datetime) -> float:
    return max(0.0, (until - now).total_seconds()) if until else 0.0


def _took_over(seen: Seen) -> str:
    row = seen.row
    took = (row.ended_at or seen.now) - row.created_at
    said = f"It took {lasting(took.total_seconds())}."
    warm = seen.strategy.keep_warm
    if row.stable is None or not warm:
        return said
    left = (row.ended_at or seen.now) + warm - seen.now
    before = f"v{row.stable.version.number}"
    if left > timedelta(0):
        return f"{said} {before} stays warm for {lasting(left.total_seconds())} more."
    return f"{said} {before} stayed warm for {words.length(warm)}."


def _as_before(seen: Seen) -> str:
    return " again" if planning.had_requests(seen.row) else ", as before"


def _took_back(seen: Seen) -> str:
    row = seen.row
    if row.settled_at is None or row.decided_at is None:
        return ""
    if not planning.had_requests(row):
        return f"No caller had got an answer of v{row.candidate.version.number}."
    took = (row.settled_at - row.decided_at).total_seconds()
    return f"Going back took {spoken(max(took, 0.0))}, from the decision to the last request."
