"""The small panels beside a rollout: the way back, the canary, the log."""

from dataclasses import dataclass
from datetime import datetime

from apps.endpoints.domain.states import RevisionState
from apps.endpoints.models import Revision
from apps.rollouts import planning, selectors
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.models import RolloutEvent
from apps.rollouts.telling import Kind
from apps.rollouts.web.seen import LOG_SHOWN, Seen, ready_of
from controlplane.kernel.figures import spoken

TONES = {
    Kind.FITS: "passed", Kind.WAITS: "warning", Kind.READY: "passed", Kind.SEEN: "progressing",
    Kind.DRIFTED: "warning", Kind.ADVANCED: "not_worse", Kind.REALLOCATED: "canary",
    Kind.PAUSED: "paused", Kind.SKIPPED: "waived", Kind.PROMOTED: "promoting",
    Kind.SETTLED: "promoted", Kind.ABORTED: "rolling_back", Kind.RESTORED: "rolled_back",
    Kind.CANCELLED: "cancelled", Kind.FAULT: "warning",
}  # fmt: skip
WORKER = "worker:"
GONE = frozenset({RevisionState.RETIRED, RevisionState.FAILED})


@dataclass(frozen=True)
class Back:
    """The way back.

    Attributes:
        state: Whose lamp is lit.
        word: The state in a word.
        facts: Names and values.
        sentence: What going back means.
    """

    state: str
    word: str
    facts: list[tuple[str, str]]
    sentence: str


@dataclass(frozen=True)
class Canary:
    """The candidate.

    Attributes:
        revision: Its row.
        ready: "2 of 2 ready".
        restarts: How often its servers have ended; 0 for never.
        golden: "5 of 5"; "" before they were asked.
        took: How long it took to answer; "" before it did.
        problem: Why it failed; "" when it did not.
    """

    revision: Revision
    ready: str
    restarts: int
    golden: str
    took: str
    problem: str


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    Attributes:
        by: The person who did it; "" for a worker.
    """

    at: datetime
    tone: str
    sentence: str
    reason: str
    by: str


@dataclass(frozen=True)
class Log:
    """The log, newest first."""

    entries: list[Entry]
    total: int
    whole: bool


def back(seen: Seen) -> Back:
    """Return the way back."""
    stable = seen.row.stable
    if stable is None:
        return Back(
            "unknown", "The first", [],
            "Nothing was live here before. Abort takes the canary away, and nothing answers, "
            "as before.",
        )  # fmt: skip
    number = stable.version.number
    facts = [("Stable", f"revision {stable.number}, v{number}")]
    if seen.state is RolloutState.ROLLED_BACK:
        return Back("passed", "Taken", [*facts, *_times(seen)],
                    f"v{number} answers every request, as before.")  # fmt: skip
    if seen.ended:
        return Back("unknown", "Over", [*facts, *_last(seen)], _over(seen, number))
    facts += [("Replicas", _replicas(stable)), *_last(seen)]
    if seen.state is RolloutState.PENDING:
        return Back("ready", "Clear", facts, f"Nothing has moved: v{number} answers everything.")
    ready = ready_of(stable)
    if seen.strategy.kind is StrategyKind.RECREATE and not ready:
        return Back("warning", "Slow", facts,
                    f"v{number} has stopped to make room; going back starts it anew.")  # fmt: skip
    if ready < stable.replicas:
        return Back("warning", "Not whole", facts,
                    f"Abort sends every request to revision {stable.number}, and not all of its "
                    "replicas are ready.")  # fmt: skip
    return Back(
        "ready", "Clear", facts,
        f"Abort sends every request to revision {stable.number}. It is a change of route: "
        "nothing is redeployed.",
    )  # fmt: skip


def _over(seen: Seen, number: int) -> str:
    if seen.state is RolloutState.CANCELLED:
        return f"It never started; v{number} answered all the time."
    release = seen.row.release_number
    where = f"The page of R-{release} can roll back" if release else "A release can roll back"
    return f"{where} to what was live before."


def _replicas(revision: Revision) -> str:
    ready = ready_of(revision)
    warm = ", warm" if ready and RevisionState(revision.state) not in GONE else ""
    return f"{ready} of {revision.replicas} ready{warm}"


def _times(seen: Seen) -> list[tuple[str, str]]:
    row = seen.row
    if row.settled_at is None or row.decided_at is None or not planning.had_requests(row):
        return []
    return [("Took", spoken(max(0.0, (row.settled_at - row.decided_at).total_seconds())))]


def _last(seen: Seen) -> list[tuple[str, str]]:
    """Return when this endpoint last went back, and how long that took."""
    last = selectors.last_way_back(seen.row)
    if last is None or last.settled_at is None or last.decided_at is None:
        return [("Last time", "never yet at this endpoint")]
    took = spoken(max(0.0, (last.settled_at - last.decided_at).total_seconds()))
    return [("Last time", f"{last.settled_at:%-d %B}, {took}")]


def canary(seen: Seen) -> Canary:
    """Return the candidate."""
    revision = seen.row.candidate
    state = RevisionState(revision.state)
    ready = "stopped" if state in GONE else f"{ready_of(revision)} of {revision.replicas} ready"
    golden = revision.golden or {}
    took = ""
    if revision.started_at and revision.ready_at:
        took = spoken((revision.ready_at - revision.started_at).total_seconds())
    return Canary(
        revision=revision,
        ready="not started" if seen.state is RolloutState.PENDING else ready,
        restarts=revision.restarts,
        golden=f"{golden['answered']} of {golden['asked']}" if golden.get("asked") else "",
        took=took,
        problem=revision.problem,
    )


def log(seen: Seen) -> Log:
    """Return the log."""
    total = len(seen.log)
    if total >= LOG_SHOWN:
        total = selectors.count_events(seen.row)
    return Log([_entry(event) for event in seen.log], total, seen.whole_log)


def _entry(event: RolloutEvent) -> Entry:
    return Entry(
        at=event.at,
        tone=TONES.get(Kind(event.kind), "info") if event.kind in list(Kind) else "info",
        sentence=event.sentence,
        reason=event.reason,
        by="" if event.actor.startswith(WORKER) else event.actor,
    )
