"""Model servers, a proxy and its statistics in dictionaries: for pure logic and for faults.

They keep the ports' promises (fencing, asking twice is asking once, nothing waits) and can be
made to break: servers that do not start, answers that are wrong, a worker that dies at a call.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from apps.endpoints.domain import routing
from apps.endpoints.domain.values import (
    Golden,
    Problem,
    Replica,
    ReplicaState,
    Route,
    RouteSeen,
    Servers,
    ServerSpec,
)
from apps.monitoring.domain.windows import Counts
from apps.monitoring.ports import Reading
from controlplane.kernel.errors import Conflict, Permanent

FIRST_PORT = 20_000
Hook = Callable[[str], None]  # called with a call's name, before it and again after it


def nothing(call: str) -> None:
    """Let a call happen."""


@dataclass
class MemoryServers:
    """Implements `apps.endpoints.ports.ModelServers`.

    Attributes:
        looks_to_ready: How many observations a replica needs to be ready.
        refuses: What `start` says to a revision number; a Permanent error.
        failing: What the servers of a revision number say as they end.
        wrong: Revision numbers whose golden answers are wrong.
        other_digest: Revision numbers that serve other bytes than asked for.
        free_mb: Memory that new servers may take.
        hook: Called before and after every command.
    """

    looks_to_ready: int = 1
    refuses: dict[int, Permanent] = field(default_factory=dict)
    failing: dict[int, Problem] = field(default_factory=dict)
    wrong: set[int] = field(default_factory=set)
    other_digest: set[int] = field(default_factory=set)
    free_mb: int = 10_000
    hook: Hook = nothing
    specs: dict[str, ServerSpec] = field(default_factory=dict)
    replicas: dict[str, dict[int, Replica]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    _looks: dict[tuple[str, int], int] = field(default_factory=dict)
    _next: int = 0

    def start(self, spec: ServerSpec) -> None:
        """Implement `ModelServers.start`."""
        self._begin("start", spec.revision)
        self._refuse_older(spec.revision, spec.generation)
        if spec.number in self.refuses:
            raise self.refuses[spec.number]
        self.specs[spec.revision] = spec
        there = self.replicas.setdefault(spec.revision, {})
        for index in range(spec.replicas):
            if index not in there or there[index].state in (
                ReplicaState.FAILED,
                ReplicaState.MISSING,
            ):
                there[index] = self._fresh(spec, index)
        for index in [i for i in there if i >= spec.replicas]:
            del there[index]
        self.hook("start")

    def stop(self, revision: str, *, generation: int) -> None:
        """Implement `ModelServers.stop`."""
        self._begin("stop", revision)
        self._refuse_older(revision, generation)
        self.specs.pop(revision, None)
        self.replicas.pop(revision, None)
        self.hook("stop")

    def observe(self, revisions: Collection[str]) -> dict[str, Servers]:
        """Implement `ModelServers.observe`."""
        return {r: self._observed(r) for r in revisions if r in self.specs}

    def known(self) -> frozenset[str]:
        """Implement `ModelServers.known`."""
        return frozenset(self.specs)

    def warm(self, spec: ServerSpec) -> int:
        """Implement `ModelServers.warm`."""
        self._begin("warm", spec.revision)
        self.hook("warm")
        return spec.replicas

    def ask_golden(self, spec: ServerSpec) -> Golden:
        """Implement `ModelServers.ask_golden`."""
        self._begin("ask_golden", spec.revision)
        wrong = spec.number in self.wrong
        digest = "sha256:other" if spec.number in self.other_digest else spec.digest
        self.hook("ask_golden")
        return Golden(
            asked=3,
            answered=2 if wrong else 3,
            digest=digest,
            problem="Output “y” differs." if wrong else "",
        )

    def free_memory_mb(self) -> int:
        """Implement `ModelServers.free_memory_mb`."""
        return self.free_mb

    def kill(self, revision: str, index: int) -> None:
        """End one replica, as the system might; the supervisor starts another."""
        self._looks.pop((revision, index), None)
        self.replicas[revision][index] = self._fresh(self.specs[revision], index)

    def forget(self, revision: str, index: int) -> None:
        """Lose one replica, as somebody at the supervisor's console might."""
        self._looks.pop((revision, index), None)
        self.replicas[revision].pop(index)

    def _observed(self, revision: str) -> Servers:
        spec, there = self.specs[revision], self.replicas[revision]
        for index, replica in list(there.items()):
            there[index] = self._a_look_later(spec, replica)
        indexes = sorted(set(range(spec.replicas)) | set(there))
        missing = ReplicaState.MISSING
        failed = any(r.state is ReplicaState.FAILED for r in there.values())
        return Servers(
            generation=spec.generation,
            replicas=tuple(there.get(i, Replica(i, None, None, missing)) for i in indexes),
            problem=self.failing.get(spec.number) if failed else None,
        )

    def _a_look_later(self, spec: ServerSpec, replica: Replica) -> Replica:
        if replica.state is not ReplicaState.STARTING:
            return replica
        looks = self._looks.get((spec.revision, replica.index), 0) + 1
        self._looks[spec.revision, replica.index] = looks
        if looks < self.looks_to_ready:
            return replica
        failed = spec.number in self.failing
        return replace(replica, state=ReplicaState.FAILED if failed else ReplicaState.READY)

    def _fresh(self, spec: ServerSpec, index: int) -> Replica:
        self._next += 1
        port = FIRST_PORT + self._next
        self._looks.pop((spec.revision, index), None)
        return Replica(index, port, self._next, ReplicaState.STARTING)

    def _begin(self, call: str, revision: str) -> None:
        self.calls.append(f"{call} {revision}")
        self.hook(call)

    def _refuse_older(self, revision: str, generation: int) -> None:
        last = self.specs.get(revision)
        if last is not None and last.generation > generation:
            raise Conflict("A newer generation has spoken.", code="endpoint.overtaken")


@dataclass
class MemoryRouter:
    """Implements `apps.endpoints.ports.TrafficRouter`.

    Attributes:
        refuses: Names of endpoints whose routes are refused.
        hook: Called before and after every command.
        applied: Every route that was put in force, in order.
    """

    refuses: set[str] = field(default_factory=set)
    hook: Hook = nothing
    routes: dict[str, Route] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    altered: dict[str, Route] = field(default_factory=dict)
    applied: list[Route] = field(default_factory=list)

    def apply(self, route: Route) -> None:
        """Implement `TrafficRouter.apply`."""
        self.hook("apply")
        self._refuse_older(route.endpoint, route.generation)
        if route.name in self.refuses:
            raise Permanent("The proxy refused it.", code="envoy.refused")
        self.routes[route.endpoint] = routing.possible(route)
        self.generations[route.endpoint] = route.generation
        self.altered.pop(route.endpoint, None)
        self.applied.append(route)
        self.hook("apply")

    def remove(self, endpoint: str, *, generation: int) -> None:
        """Implement `TrafficRouter.remove`."""
        self.hook("remove")
        self._refuse_older(endpoint, generation)
        self.routes.pop(endpoint, None)
        self.generations[endpoint] = generation
        self.hook("remove")

    def observe(self, endpoint: str) -> RouteSeen:
        """Implement `TrafficRouter.observe`."""
        return self.observe_all().get(endpoint, RouteSeen())

    def observe_all(self) -> dict[str, RouteSeen]:
        """Implement `TrafficRouter.observe_all`."""
        return {
            endpoint: RouteSeen(self.altered.get(endpoint, route), endpoint not in self.altered)
            for endpoint, route in self.routes.items()
        }

    def alter(self, route: Route) -> None:
        """Change what is in force behind everybody's back."""
        self.altered[route.endpoint] = route

    def forget_everything(self) -> None:
        """Lose all routes, as a proxy that is started afresh."""
        self.routes.clear()
        self.altered.clear()
        self.generations.clear()

    def _refuse_older(self, endpoint: str, generation: int) -> None:
        if self.generations.get(endpoint, 0) > generation:
            raise Conflict("A newer generation has spoken.", code="endpoint.overtaken")


@dataclass
class MemoryMeter:
    """Implements `apps.monitoring.ports.TrafficMeter`: says what it is given."""

    reading: Reading

    def read(self) -> Reading:
        """Implement `TrafficMeter.read`."""
        return self.reading

    def count(self, endpoint: str, number: int, counts: Counts) -> None:
        """Have one revision's counters show `counts`."""
        self.reading = replace(
            self.reading, counts={**self.reading.counts, (endpoint, number): counts}
        )
