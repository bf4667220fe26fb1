"""Whether every rollout of the play came to the right end in the right way: pure.

Each function returns sentences, one for everything that is not as it has to be.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from tests.chaos.records import ENDS, Asked, Event, Fate, Kill, Played, Sample

CLOCK = timedelta(milliseconds=5)  # a clock's resolution, and what is rounded away
WRITTEN = timedelta(seconds=1)  # from seeing a weight to having written it down
CLIMBING = ("progressing", "paused", "promoting")
LEAVES = ("advanced", "promoted")  # what ends a step that has passed
SETTLED = timedelta(seconds=1)
AFTERMATH = timedelta(seconds=30)  # within which a kill explains a request that failed
ONCE = ("begun", "fits", "promoted", "settled", "aborted", "restored", "cancelled")
VERBS = {"fits": "start", "advanced": "advance", "promoted": "promote", "settled": "settle",
         "aborted": "abort", "restored": "restore", "begun": "begin"}  # fmt: skip


def of_rollout(played: Played) -> list[str]:
    """Return everything that is wrong with one rollout."""
    found = [
        *_end(played),
        *_weights(played),
        *_holds(played),
        *_told_once(played),
    ]
    return [f"{played.place}, {played.fate} ({played.rollout}): {sentence}" for sentence in found]


def of_traffic(asked: Iterable[Asked], played: Sequence[Played], kills: Sequence[Kill],
               *, quiet: datetime) -> list[str]:  # fmt: skip
    """Return what is wrong with the answers: the wrong version, or none without a reason.

    Args:
        asked: Every request.
        played: Every rollout.
        kills: Every kill, in order.
        quiet: From when on nothing may fail any more.
    """
    found = []
    for request in asked:
        if request.cause and not request.poisoned:
            found += _failure(request, kills, quiet)
        elif not request.cause:
            found += _answerer(request, played)
    return found


def _end(played: Played) -> list[str]:
    found = []
    if played.state != ENDS[played.fate]:
        found.append(f"it is {played.state}, and should be {ENDS[played.fate]}: {played.reason}")
    if played.release not in _releases(played):
        found.append(f"its release is {played.release}, and the rollout {played.state}")
    if played.last:
        right = played.candidate if played.fate is Fate.GOOD else played.stable
        if set(played.serves) != {right}:
            found.append(f"v{right} should answer in the end, and these do: {played.serves}")
    return found


def _releases(played: Played) -> tuple[str, ...]:
    if played.fate is not Fate.GOOD:
        return ("rolled_back",)
    return ("superseded",) if played.superseded else ("live",)


def _weights(played: Played) -> list[str]:
    """Weights only climb, asked for and observed; never more is in force than its step asks."""
    asked = [e.facts["trial"]["weight"] for e in played.events if e.kind == "seen"]
    rungs = [weight for weight, _ in played.rungs]
    found = []
    if asked != rungs[: len(asked)]:
        found.append(f"the steps were seen at {asked} %, and the plan is {rungs}")
    climbing = [s for s in played.samples if s.state in CLIMBING]
    # A candidate without a server has no weight for a while; that is no step down.
    carried = [s.weight for s in climbing if s.weight]
    if any(after < before for before, after in pairwise(carried)):
        found.append(f"the weight fell on the way up: {_runs(carried)}")
    found += [
        f"{s.weight} % were in force at step {s.step}, which asks for {rungs[s.step]}"
        for s in climbing
        if s.step < len(rungs) and s.weight > rungs[s.step]
    ]
    return found


def _holds(played: Played) -> list[str]:
    """Every step was in force for as long as its hold, without a break that was seen."""
    found = []
    steps = _steps(played.events)
    for index, ((seen, left), (weight, hold)) in enumerate(zip(steps, played.rungs, strict=False)):
        lasted = (left.at - seen.at).total_seconds()
        if left.at - seen.at < timedelta(seconds=hold) - CLOCK:
            found.append(f"step {index} was held for {lasted:.3f} s instead of {hold:g} s")
        since = left.at - timedelta(seconds=hold) + WRITTEN
        broken = [
            s for s in played.samples
            if s.step == index and since < s.at < left.at and s.weight != weight
        ]  # fmt: skip
        found += [f"step {index} was left with {s.weight} % in force, {weight - s.weight} less "
                  f"than asked, {(left.at - s.at).total_seconds():.3f} s before"
                  for s in broken]  # fmt: skip
    if played.fate is Fate.GOOD and len(steps) != len(played.rungs):
        found.append(f"{len(steps)} of {len(played.rungs)} steps were seen and left")
    return found


def _steps(events: Sequence[Event]) -> list[tuple[Event, Event]]:
    """Return where each step was first seen in force, and where it was left."""
    seen = [e for e in events if e.kind == "seen"]
    left = [e for e in events if e.kind in LEAVES]
    return list(zip(seen, left, strict=False))


def _told_once(played: Played) -> list[str]:
    """Nothing is told twice, and log and ledger tell the same."""
    kinds = [e.kind for e in played.events]
    found = [f"its log tells {kind} {kinds.count(kind)} times" for kind in ONCE
             if kinds.count(kind) > 1]  # fmt: skip
    for kind, most in (("seen", len(played.rungs)), ("advanced", len(played.rungs) - 1)):
        if kinds.count(kind) > most:
            found.append(f"its log tells {kind} {kinds.count(kind)} times")
    verbs = sorted(played.verbs)
    expected = sorted(VERBS[kind] for kind in kinds if kind in VERBS)
    if verbs != expected:
        found.append(f"the ledger tells {verbs}, and its log {expected}")
    return found


def _failure(request: Asked, kills: Sequence[Kill], quiet: datetime) -> list[str]:
    if request.at >= quiet:
        return [f"{request.place} did not answer in the quiet at the end: {request.cause}"]
    if any(kill.at - SETTLED <= request.at <= kill.at + AFTERMATH for kill in kills):
        return []
    return [f"{request.place} did not answer, and nothing had been killed: {request.cause}"]


def _answerer(request: Asked, played: Sequence[Played]) -> list[str]:
    """Who answers after a rollout's end is decided by its end."""
    for one in played:
        if one.place != request.place or one.ended_at is None:
            continue
        if one.ended_at + SETTLED < request.at < one.until:
            right = one.candidate if one.state == "promoted" else one.stable
            if request.version != right:
                return [f"{one.place}: v{request.version} answered after {one.rollout} was "
                        f"{one.state}"]  # fmt: skip
    return []


def _runs(weights: Iterable[int]) -> list[int]:
    """Return the weights without repetitions."""
    runs: list[int] = []
    for weight in weights:
        if not runs or runs[-1] != weight:
            runs.append(weight)
    return runs


def summary(asked: Iterable[Asked]) -> dict[str, int]:
    """Return how many requests were answered, and how many failed of what."""
    counts: dict[str, int] = {}
    for request in asked:
        what = "answered" if not request.cause else _named(request)
        counts[what] = counts.get(what, 0) + 1
    return counts


def _named(request: Asked) -> str:
    meant = request.poisoned and request.cause == "500"
    return "failed as meant" if meant else request.cause


def looked_at(samples: Iterable[Sample], rollout: str) -> list[Sample]:
    """Return the samples of one rollout."""
    return [s for s in samples if s.rollout == rollout]
