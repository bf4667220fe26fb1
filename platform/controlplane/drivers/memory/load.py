"""A load generator in a dictionary: for pure logic and for faults."""

from collections.abc import Callable
from dataclasses import dataclass, field

from apps.gates.domain.load import LoadPlan, LoadReport, LoadResult, LoadState
from apps.monitoring.domain import histogram


def nothing(call: str) -> None:
    """Let a call happen."""


@dataclass
class MemoryLoad:
    """Implements `apps.gates.ports.LoadGenerator`; a test ends after some looks at it.

    Attributes:
        looks: How many observations a test takes.
        milliseconds: How long every request takes.
        answered: Share of requests that are answered.
        revision: Who answers.
        problem: What a test ends with instead of a result.
        hook: Called before and after every command.
    """

    looks: int = 2
    milliseconds: float = 5.0
    answered: float = 1.0
    revision: int = 1
    problem: str = ""
    hook: Callable[[str], None] = nothing
    plans: dict[str, LoadPlan] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)

    def start(self, name: str, plan: LoadPlan) -> None:
        """Implement `LoadGenerator.start`."""
        self.hook("start")
        if name not in self.plans:
            self.plans[name] = plan
            self.started.append(name)
        self.hook("start")

    def observe(self, name: str) -> LoadReport:
        """Implement `LoadGenerator.observe`."""
        plan = self.plans.get(name)
        if plan is None:
            return LoadReport(LoadState.ABSENT)
        self._seen[name] = self._seen.get(name, 0) + 1
        if self._seen[name] <= self.looks:
            return LoadReport(LoadState.RUNNING)
        if self.problem:
            return LoadReport(LoadState.FAILED, problem=self.problem)
        return LoadReport(LoadState.DONE, self._result(plan))

    def discard(self, name: str) -> None:
        """Implement `LoadGenerator.discard`."""
        self.hook("discard")
        self.plans.pop(name, None)
        self._seen.pop(name, None)
        self.hook("discard")

    def names(self) -> list[str]:
        """Implement `LoadGenerator.names`."""
        return sorted(self.plans)

    def _result(self, plan: LoadPlan) -> LoadResult:
        planned = round(plan.rate * plan.seconds)
        answered = round(planned * self.answered)
        counts = histogram.empty()
        counts[histogram.bucket_of(self.milliseconds)] = answered
        return LoadResult(
            planned=planned,
            sent=planned,
            answered=answered,
            fast=answered if self.milliseconds <= plan.slow_ms else 0,
            late=0,
            seconds=plan.seconds,
            counts=counts,
            p50_ms=self.milliseconds,
            p95_ms=self.milliseconds,
            p99_ms=self.milliseconds,
            errors={} if answered == planned else {"503: busy": planned - answered},
            revisions={str(self.revision): answered},
        )
