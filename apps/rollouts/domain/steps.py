"""From a strategy to its steps, and from a step to what the endpoint is asked to do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from apps.endpoints.domain.values import WHOLE, Segment, Trial
from apps.rollouts.domain.strategy import Rung, Strategy, StrategyKind

K = StrategyKind


class Until(StrEnum):
    """What a step waits for, once its hold has passed."""

    HELD = "held"  # nothing more
    JUDGED = "judged"  # the judge says "not worse"
    EXPERIMENT = "experiment"  # the experiment has an answer
    LEARNT = "learnt"  # the bandit has chosen


@dataclass(frozen=True)
class Step:
    """One step on the way to the whole traffic.

    Attributes:
        weight: Percent of requests that the canary answers.
        hold: For how long that must be seen in place, at least.
        until: What must be so as well before the next step.
        ask: Whether a person must say so too.
        deadline: How long after the hold it may take; None for ever.
        mirror: Percent of requests that are copied to the canary.
        preview: Whether the canary answers at the preview address.
    """

    weight: int
    hold: timedelta
    until: Until = Until.HELD
    ask: bool = False
    deadline: timedelta | None = None
    mirror: int = 0
    preview: bool = False

    @property
    def name(self) -> str:
        """Return what a page calls the step."""
        if self.mirror:
            return f"Shadow, {self.mirror} %"
        return "Preview" if self.preview else f"{self.weight} %"


@dataclass(frozen=True)
class Allocation:
    """How a bandit splits the requests now.

    Attributes:
        weight: Percent of requests to the candidate.
        segments: The same for the segments that have one of their own, by the header's value.
    """

    weight: int
    segments: Mapping[str, int] = field(default_factory=dict)


def compile_steps(strategy: Strategy, *, has_stable: bool = True) -> tuple[Step, ...]:
    """Return the steps before the canary answers everything.

    Without a stable revision there is nobody to take traffic from, to compare with or to return
    to: the candidate answers everything as soon as its golden requests were answered.
    """
    if not has_stable:
        return ()
    match strategy.kind:
        case K.CANARY | K.LINEAR:
            return _ladder(strategy.rungs)
        case K.BLUE_GREEN:
            return (Step(0, strategy.hold, ask=strategy.ask, preview=True),)
        case K.SHADOW:
            return (_shadow(strategy), *_ladder(strategy.rungs))
        case K.AB:
            return (_trying(strategy, Until.EXPERIMENT),)
        case K.BANDIT:
            return (_trying(strategy, Until.LEARNT),)
        case K.ALL_AT_ONCE | K.RECREATE:
            return ()


def trial(
    strategy: Strategy,
    steps: tuple[Step, ...],
    index: int,
    *,
    candidate: int,
    allocation: Allocation | None = None,
) -> Trial:
    """Return what the endpoint is asked to do at step `index`; past the last one, everything.

    Args:
        strategy: The strategy.
        steps: Its steps.
        index: The step's index.
        candidate: The number of the revision on trial.
        allocation: How a bandit splits the requests now; None before its first look.
    """
    if index >= len(steps):
        alone = strategy.kind is K.RECREATE
        return Trial(candidate, weight=WHOLE, sticky=strategy.sticky, alone=alone, settle=True)
    step = steps[index]
    asked = Trial(
        candidate,
        weight=step.weight,
        mirror=step.mirror,
        preview=step.preview,
        sticky=strategy.sticky,
    )
    if step.until is not Until.LEARNT or strategy.trying is None:
        return asked
    split = allocation or Allocation(step.weight)
    header = strategy.trying.header
    segments = tuple(
        Segment(header, value, split.segments.get(value, split.weight))
        for value in strategy.trying.values
    )
    return replace(asked, weight=split.weight, segments=segments)


def least_time(steps: tuple[Step, ...]) -> timedelta:
    """Return how long the steps take at least, with a judge that never hesitates."""
    return sum((step.hold for step in steps), timedelta(0))


def _ladder(rungs: tuple[Rung, ...]) -> tuple[Step, ...]:
    return tuple(
        Step(
            rung.weight,
            rung.hold,
            Until.JUDGED if rung.judge else Until.HELD,
            ask=rung.ask,
            deadline=rung.deadline,
        )
        for rung in rungs
    )


def _shadow(strategy: Strategy) -> Step:
    return Step(
        0,
        strategy.hold,
        Until.JUDGED,
        ask=strategy.ask,
        deadline=strategy.deadline,
        mirror=strategy.mirror,
    )


def _trying(strategy: Strategy, until: Until) -> Step:
    horizon = strategy.trying.horizon if strategy.trying else timedelta(0)
    return Step(strategy.weight, timedelta(0), until, deadline=horizon)
