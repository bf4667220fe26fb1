"""How a rollout moves traffic: what a strategy's document says, read once and typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controlplane.kernel.errors import Invalid


class StrategyKind(StrEnum):
    """The ways there are."""

    ALL_AT_ONCE = "all_at_once"


@dataclass(frozen=True)
class Strategy:
    """One way to move the traffic of an endpoint."""

    kind: StrategyKind

    def as_document(self) -> dict[str, Any]:
        """Return what a row keeps, and what an approval signs."""
        return {"kind": str(self.kind)}


@dataclass(frozen=True)
class PlannedStep:
    """One line of the plan, for a reader.

    Attributes:
        name: What happens.
        weight: Percent of requests to the candidate afterwards.
        goes_on_when: What must be so before the next line.
    """

    name: str
    weight: int
    goes_on_when: str


DEFAULT = Strategy(StrategyKind.ALL_AT_ONCE)


def parse(document: Mapping[str, Any] | None) -> Strategy:
    """Return the strategy that `document` says; none says the default.

    Raises:
        Invalid: The kind is not known, or there is something that no strategy has.
    """
    if not document:
        return DEFAULT
    known = ", ".join(StrategyKind)
    kind = document.get("kind")
    if kind not in list(StrategyKind):
        raise Invalid(
            f"There is no strategy {kind!r}.",
            remedy=f"Choose one of: {known}.",
            field="strategy.kind",
            code="rollout.unknown_strategy",
        )
    extra = sorted(set(document) - {"kind"})
    if extra:
        raise Invalid(
            f"The strategy {kind} has no {extra[0]!r}.",
            remedy="Leave it out.",
            field=f"strategy.{extra[0]}",
            code="rollout.unknown_setting",
        )
    return Strategy(StrategyKind(kind))


def plan(strategy: Strategy) -> tuple[PlannedStep, ...]:
    """Return what will happen, in order."""
    match strategy.kind:
        case StrategyKind.ALL_AT_ONCE:
            return (
                PlannedStep("Room is looked for", 0, "there is memory for both revisions"),
                PlannedStep("Its servers start", 0, "every replica says that it is ready"),
                PlannedStep("They warm up", 0, "every replica has answered its first requests"),
                PlannedStep(
                    "Golden requests", 0, "every answer is right, and by exactly these bytes"
                ),
                PlannedStep("It takes all traffic", 100, "the proxy confirms the route"),
            )
