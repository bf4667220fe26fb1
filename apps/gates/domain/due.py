"""When to look at a gate again. Pure."""

from datetime import datetime, timedelta

from apps.gates.domain.catalogue import Gate, Scope
from apps.gates.domain.finding import Verdict

EARLY = 0.1  # of its age limit: a finding is renewed before it is too old, and never lapses
MOST_EARLY = timedelta(days=1)
STEADY = timedelta(minutes=10)  # how often what hangs on the environment is looked at again
WARNING = timedelta(days=1)  # before a waiver ends


def next_look(
    gate: Gate,
    verdict: Verdict,
    *,
    until: datetime,
    max_age: timedelta,
    cheap: bool,
    now: datetime,
) -> datetime | None:
    """Return when to look again, always after `now`; None when only an event can change it.

    Args:
        gate: From the catalogue.
        verdict: What was found now.
        until: From when the finding is too old.
        max_age: How old it may be.
        cheap: Whether looking costs no more than reading our own records.
        now: The moment of finding.
    """
    if verdict is not Verdict.PASSED:
        return now + gate.look_again if gate.look_again else None
    renew = until - _early(max_age)
    if cheap and gate.scope is Scope.PLACE:
        renew = min(renew, now + STEADY)
    # What is over soon is not looked at again until it is: its end is a look of its own.
    return renew if renew > now else until if until > now else None


def is_young(until: datetime, *, max_age: timedelta, now: datetime) -> bool:
    """Return whether a finding need not be renewed yet."""
    return now < until - _early(max_age)


def warn_at(granted_at: datetime, expires_at: datetime) -> datetime:
    """Return when to say that a waiver is about to end: a day before, or half-way if shorter."""
    return max(expires_at - WARNING, granted_at + (expires_at - granted_at) / 2)


def _early(max_age: timedelta) -> timedelta:
    return min(max_age * EARLY, MOST_EARLY)
