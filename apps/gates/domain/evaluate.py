"""From a rule and what is known to a state; from states to a checklist's verdict. Pure.

Unknown never passes: what was never measured, is too old, or could not be measured is unknown,
and only a waiver gets past it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from apps.gates.domain.finding import Verdict
from apps.gates.domain.states import GateState


@dataclass(frozen=True)
class Known:
    """What is known of one gate.

    Attributes:
        verdict: What the newest evidence says.
        measured_at: When it was found, or last found to be still so.
        expires_at: From when it counts no more; None when only its age limits it.
    """

    verdict: Verdict
    measured_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Excuse:
    """A waiver, as far as judging needs it.

    Attributes:
        expires_at: From when it holds no more.
        withdrawn: Whether somebody took it back.
    """

    expires_at: datetime
    withdrawn: bool = False

    def holds(self, now: datetime) -> bool:
        """Return whether it is in force."""
        return not self.withdrawn and now < self.expires_at


class ChecklistVerdict(StrEnum):
    """What a checklist says as a whole."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    PENDING = "pending"


def evaluate(
    known: Known | None, waiver: Excuse | None, *, max_age: timedelta, now: datetime
) -> GateState:
    """Return the state of one gate, never `PENDING`: that it will be measured is no judgement.

    Args:
        known: What is known; None when nothing is.
        waiver: The gate's waiver, where it has one.
        max_age: How old a finding may be.
        now: The moment to judge at.
    """
    found = _found(known, max_age=max_age, now=now)
    if found is not GateState.PASSED and waiver is not None and waiver.holds(now):
        return GateState.WAIVED
    return found


def counts_until(known: Known, *, max_age: timedelta) -> datetime:
    """Return the moment from which a finding is too old."""
    aged = known.measured_at + max_age
    return aged if known.expires_at is None else min(aged, known.expires_at)


def verdict(required: Iterable[GateState]) -> ChecklistVerdict:
    """Return what the states of the required gates say together."""
    states = set(required)
    if GateState.FAILED in states:
        return ChecklistVerdict.FAILED
    if GateState.PENDING in states:
        return ChecklistVerdict.PENDING
    if GateState.UNKNOWN in states:
        return ChecklistVerdict.UNKNOWN
    return ChecklistVerdict.PASSED


def _found(known: Known | None, *, max_age: timedelta, now: datetime) -> GateState:
    if known is None or now >= counts_until(known, max_age=max_age):
        return GateState.UNKNOWN
    match known.verdict:
        case Verdict.PASSED:
            return GateState.PASSED
        case Verdict.FAILED:
            return GateState.FAILED
        case Verdict.UNKNOWN:
            return GateState.UNKNOWN
        case _:
            assert_never(known.verdict)
