"""How a rollout moves traffic. Values only.

`document` reads them from what a row keeps and an approval signs; `steps` compiles them to what is
done, step by step.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from apps.analysis.domain.values import Metric
from apps.endpoints.domain.values import Sticky


class StrategyKind(StrEnum):
    """The ways there are."""

    ALL_AT_ONCE = "all_at_once"
    CANARY = "canary"
    LINEAR = "linear"
    BLUE_GREEN = "blue_green"
    SHADOW = "shadow"
    AB = "ab"
    BANDIT = "bandit"
    RECREATE = "recreate"


class OnDeadline(StrEnum):
    """What happens when a step's time is up and the judge has no answer."""

    ASK = "ask"
    ABORT = "abort"


TITLES = {
    StrategyKind.ALL_AT_ONCE: "All at once",
    StrategyKind.CANARY: "Canary",
    StrategyKind.LINEAR: "Linear",
    StrategyKind.BLUE_GREEN: "Blue-green",
    StrategyKind.SHADOW: "Shadow",
    StrategyKind.AB: "A/B test",
    StrategyKind.BANDIT: "Bandit",
    StrategyKind.RECREATE: "Recreate",
}

K = StrategyKind
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
USUAL_KEEP_WARM = timedelta(minutes=10)


@dataclass(frozen=True)
class Rung:
    """One step of a ladder.

    Attributes:
        weight: Percent of requests to the canary.
        hold: For how long it must be seen in place, at least.
        judge: Whether the judge must say "not worse" before the next.
        ask: Whether a person must say so as well.
        deadline: How long after the hold the judge may take.
    """

    weight: int
    hold: timedelta
    judge: bool = True
    ask: bool = False
    deadline: timedelta = HOUR


@dataclass(frozen=True)
class Trying:
    """What an experiment or a bandit learns from.

    Attributes:
        hypothesis: What is believed, in the proposer's words.
        metric: What is measured; callers send it as feedback.
        least_effect: The smallest difference that matters, in the metric's own unit.
        horizon: When it ends without an answer.
        every: How often a bandit moves weights.
        floor: The least percent that each side gets.
        ceiling: The most.
        header: The header that tells a bandit's segments apart; "" for none.
        values: Its values, each a segment of its own.
    """

    metric: Metric
    horizon: timedelta
    hypothesis: str = ""
    least_effect: float = 0.0
    every: timedelta = MINUTE
    floor: int = 5
    ceiling: int = 95
    header: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What ends a rollout without statistics.

    Attributes:
        errors: So many failed requests within a minute, over the page threshold while stable is
            not.
        restarts: So many ends of the canary's servers.
    """

    errors: int = 10
    restarts: int = 2


@dataclass(frozen=True)
class Strategy:
    """One way to move the traffic of an endpoint.

    Attributes:
        kind: Which.
        rungs: The weights that it goes through, where it has any; the whole is not among them.
        mirror: Percent of requests that a shadow gets.
        hold: How long a preview or a shadow lasts, at least.
        ask: Whether a person decides at the end of a preview or a shadow.
        deadline: How long after the hold the judge may take over a shadow.
        weight: Percent of requests to the candidate of an experiment.
        sticky: What keeps a caller on one side.
        trying: What an experiment or a bandit learns from.
        keep_warm: How long the revision before stays warm once this one has taken over.
        on_deadline: What happens when the judge has no answer in time.
        metrics: What the judge compares; empty for what the model's objective suggests.
        limits: What ends it without statistics.
        alpha: The greatest chance that the judge ever calls a healthy canary worse.
    """

    kind: StrategyKind
    rungs: tuple[Rung, ...] = ()
    mirror: int = 0
    hold: timedelta = timedelta(0)
    ask: bool = False
    deadline: timedelta = HOUR
    weight: int = 50
    sticky: Sticky | None = None
    trying: Trying | None = None
    keep_warm: timedelta = USUAL_KEEP_WARM
    on_deadline: OnDeadline = OnDeadline.ASK
    metrics: tuple[Metric, ...] = ()
    limits: Limits = field(default_factory=Limits)
    alpha: float = 0.05

    @property
    def judged(self) -> bool:
        """Return whether canary and stable are compared at all."""
        return self.kind not in (K.ALL_AT_ONCE, K.RECREATE, K.BLUE_GREEN)


DEFAULT = Strategy(StrategyKind.ALL_AT_ONCE)
