"""A source of numbers in a dictionary: for pure logic and for faults."""

from collections.abc import Callable
from dataclasses import dataclass, field

from apps.analysis.domain import queries
from apps.analysis.domain.queries import Measured, Query, Side
from controlplane.kernel.errors import ControlPlaneError


def nothing(query: Query) -> None:
    """Let a question be asked."""


@dataclass
class MemorySource:
    """Implements `apps.analysis.ports.MetricSource`.

    Attributes:
        answers: What each side's questions are answered with.
        problem: What is raised instead, while it is set.
        hook: Called before every answer.
        asked: Every query that was asked, as text with its placeholders filled in.
    """

    answers: dict[Side, Measured] = field(default_factory=dict)
    problem: ControlPlaneError | None = None
    hook: Callable[[Query], None] = nothing
    asked: list[str] = field(default_factory=list)

    def measure(self, query: Query) -> Measured:
        """Implement `MetricSource.measure`."""
        text = queries.fill(query.text, query.target.values(), quoted=str)
        self.asked.append(text)
        self.hook(query)
        if self.problem is not None:
            raise self.problem
        return self.answers.get(query.target.side, Measured(None))
