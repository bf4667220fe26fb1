"""A rehearsal: a rollout that is made to go wrong, to see that it is noticed and goes back. Pure.

It climbs as any canary does, up to its one step, and there the fault is injected: requests at the
preview address fail, which no caller asks for. From then on there is one way only, back: by the
judge who notices, or by itself when nobody did in time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.rollouts.domain import decide as d
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Step

WEIGHT = 10  # percent of requests that the candidate answers meanwhile
STRATEGY = {
    "kind": "canary",
    # Never held so long: the rehearsal is over before, one way or the other.
    "steps": [{"weight": WEIGHT, "hold_seconds": 3600, "judge": True}],
}
QUIET = timedelta(seconds=10)  # with requests of callers, before the fault
AT_ONCE = 5  # failing requests a look
EVERY = timedelta(seconds=1)  # between two looks that send some
MOST = 300  # failing requests in all
NOTICED_WITHIN = timedelta(minutes=2)
LONGEST = timedelta(minutes=15)  # until the fault
TOLD_WITHIN = timedelta(seconds=30)  # from the alarm until somebody has it
PADDING = 512 * 1024  # bytes: no server reads so much in the time that a failing request gets

UNNOTICED = "The injected fault raised no alarm within two minutes."
NEVER_CAME = "The rehearsal did not come as far as its fault within a quarter of an hour."


@dataclass(frozen=True)
class Drill:
    """How far a rehearsal has come.

    Attributes:
        begun_at: When it began.
        fault_at: When the fault was injected; None before.
        sent: Requests that were sent to fail.
        alarm_at: When it turned back.
        told: Whether whoever should know of the alarm has it, or nobody is still on the way.
    """

    begun_at: datetime
    fault_at: datetime | None = None
    sent: int = 0
    alarm_at: datetime | None = None
    told: bool = True


@dataclass(frozen=True)
class Break:
    """Have requests at the preview address fail from now on."""


@dataclass(frozen=True)
class Ask:
    """Send some requests there, each of which fails."""

    count: int


Action = d.Action | Break | Ask


def decide(position: d.Position, steps: tuple[Step, ...], seen: d.Seen, drill: Drill) -> Action:
    """Return the one thing to do next: what any rollout would do, but never a step forward."""
    action = d.decide(position, steps, seen)
    match action:
        case d.Restore() if not drill.told and _still_waits(drill, seen):
            return d.Wait(seen.at + d.SOON, "The alarm is on its way.")
        case d.Advance() | d.Promote() | d.Pause() | d.Reallocate():
            return _go_on(d.Wait(seen.at + d.SOON), seen, drill)
        case d.Settle():
            return d.Abort(NEVER_CAME)
        case d.Wait() if position.state is RolloutState.PROGRESSING:
            return _go_on(action, seen, drill)
        case _:
            return action


def ended_by_itself(reason: str) -> bool:
    """Return whether a rehearsal went back because nobody noticed its fault in time."""
    return reason == UNNOTICED


def _go_on(waits: d.Wait, seen: d.Seen, drill: Drill) -> Action:
    if drill.fault_at is None:
        return _before_the_fault(waits, seen, drill)
    if seen.at - drill.fault_at >= NOTICED_WITHIN:
        return d.Abort(UNNOTICED)
    if not _in_force(seen):
        return d.Wait(seen.at + d.SOON, "The proxy has not taken up the fault yet.")
    if drill.sent < MOST:
        return Ask(min(AT_ONCE, MOST - drill.sent))
    return d.Wait(seen.at + d.SOON, "The alarm is waited for.")


def _before_the_fault(waits: d.Wait, seen: d.Seen, drill: Drill) -> Action:
    if seen.at - drill.begun_at >= LONGEST:
        return d.Abort(NEVER_CAME)
    since = seen.in_force_since
    if not _in_force(seen) or since is None:
        return waits
    if seen.at < since + QUIET:
        return d.Wait(since + QUIET, "Everything is as in a rollout; the fault comes next.")
    return Break()


def _in_force(seen: d.Seen) -> bool:
    return seen.in_force == seen.wanted and seen.in_force_since is not None


def _still_waits(drill: Drill, seen: d.Seen) -> bool:
    return drill.alarm_at is not None and seen.at - drill.alarm_at < TOLD_WITHIN
