"""What an experiment or a bandit has come to, from what callers have sent."""

from dataclasses import dataclass
from datetime import datetime

from apps.rollouts.domain.decide import Outcome
from apps.rollouts.domain.steps import Allocation
from apps.rollouts.models import Rollout
from apps.rollouts.planning import Planned


@dataclass(frozen=True)
class Learnt:
    """What was learnt so far.

    Attributes:
        outcome: Of the experiment or the bandit.
        why: In a sentence.
        allocation: A split that the bandit wants instead of the present one; None to keep it.
    """

    outcome: Outcome = Outcome.RUNNING
    why: str = ""
    allocation: Allocation | None = None


def look(row: Rollout, plan: Planned, now: datetime) -> Learnt:
    """Return what was learnt; of a strategy that learns nothing, nothing."""
    return Learnt()
