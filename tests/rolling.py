"""A house in which rollouts run: the real loop over a real database, memory drivers, a clock that
jumps to whatever is due next, and traffic that goes where the proxy sends it.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from apps.analysis.models import AnalysisRun
from apps.analysis.reconcile import AnalysisReconciler
from apps.endpoints import services as endpoints
from apps.endpoints.domain.values import WHOLE, Route
from apps.endpoints.models import Endpoint
from apps.endpoints.reconcile import EndpointReconciler
from apps.monitoring.domain import histogram, windows
from apps.monitoring.models import FeedbackWindow, LastReading, TrafficWindow
from apps.rollouts import services
from apps.rollouts.domain import authorization as a
from apps.rollouts.models import Rollout
from apps.rollouts.reconcile import RolloutReconciler
from controlplane.drivers.memory.capacity import MemoryCapacity
from controlplane.drivers.memory.serving import MemoryRouter, MemoryServers
from controlplane.kernel.actor import Role, worker
from tests import factories
from workers import loop
from workers.loop import Kind

LEASE = timedelta(seconds=45)
WINDOW = windows.WINDOW
CANARY = {
    "kind": "canary",
    "steps": [{"weight": w, "hold_seconds": 60, "deadline_seconds": 1800} for w in (5, 25, 50)],
}


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


@dataclass
class Traffic:
    """What callers do, and how each revision answers.

    Attributes:
        rate: Requests per second at the endpoint.
        errors: Share of requests that fail, by revision number.
        slow: Share of requests that take 400 ms instead of 10, by revision number.
        rewards: What is told of predictions: the share with `accepted` = 1, by segment and
            revision number. Every segment makes as many requests.
    """

    rate: float = 50.0
    errors: dict[int, float] = field(default_factory=dict)
    slow: dict[int, float] = field(default_factory=dict)
    rewards: dict[str, dict[int, float]] = field(default_factory=dict)


@dataclass
class House:
    """One world, any number of endpoints."""

    seed: int = 1
    servers: MemoryServers = field(default_factory=lambda: MemoryServers(looks_to_ready=2))
    router: MemoryRouter = field(default_factory=MemoryRouter)
    capacity: MemoryCapacity = field(default_factory=MemoryCapacity)
    traffic: dict[str, Traffic] = field(default_factory=dict)  # by endpoint public id
    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=1))
    dies_in: str = ""  # in passes over this kind of row,
    lives: int = -1  # at so many statements from here
    deaths: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.told_until = windows.floor(self.now)
        self.admin = factories.actor_with(Role.ADMIN)
        self.kinds = {
            "endpoint": Kind(Endpoint, lambda: EndpointReconciler(self.servers, self.router)),
            "analysis": Kind(AnalysisRun, AnalysisReconciler),
            "rollout": Kind(Rollout, lambda: RolloutReconciler(self.capacity)),
        }

    def live(self, *, environment: str = "dev", **traffic: Any) -> Endpoint:
        """Return an endpoint at which a first version is live."""
        version = factories.version()
        factories.variant(version=version)
        served = endpoints.serve(
            actor=self.admin, model=version.model.name, version=1, environment=environment
        ).endpoint
        self.run(lambda: served.revisions.filter(state="live").exists())
        self.traffic[served.public_id] = Traffic(**traffic)
        return served

    def start(
        self, endpoint: Endpoint, strategy: Mapping[str, Any] = CANARY, **plan: Any
    ) -> Rollout:
        """Begin a rollout of a new version, as an approved release would."""
        version = factories.version(model=endpoint.model)
        variant = factories.variant(version=version)
        return self.start_of(endpoint, version, variant, strategy, **plan)

    def start_of(
        self, endpoint: Endpoint, version: Any, variant: Any, strategy: Mapping[str, Any],
        **plan: Any,
    ) -> Rollout:  # fmt: skip
        """Begin a rollout of just this version."""
        number = Rollout.objects.count() + 1
        allowed = a.Authorization(
            release=f"rel{number:09d}", digest="sha256:set", bundle_digest=variant.bundle_digest,
            ground=a.Ground.APPROVED,
        )  # fmt: skip
        wanted = services.Plan(
            version=version, variant=variant, environment=endpoint.environment, strategy=strategy,
            release_number=number, **{"runtime": "", "replicas": 1, "configuration": {}, **plan},
        )  # fmt: skip
        return services.start(
            authorization=allowed, plan=wanted, actor=worker("releases"), reason=f"R-{number}"
        )

    def run(
        self,
        until: Callable[[], bool] | None = None,
        *,
        passes: int = 5_000,
        lasting: timedelta | None = None,
    ) -> None:
        """Run the passes that fall due until something is so, or a time has passed."""
        end = self.now + lasting if lasting else None
        for _ in range(passes):
            if until is not None and until():
                return
            if end is not None and self.now >= end:
                return
            if not self.step():
                return
        raise AssertionError(f"not so after {passes} passes: {self.told()}")

    def step(self) -> bool:
        """Run the pass that is due next; return False when none ever is."""
        if (due := self._due()) is None:
            return False
        at, name, pk = due
        self.now = max(self.now, at) + timedelta(milliseconds=1)
        self.serve()
        with self.dying(name):
            loop.reconcile_one(self.kinds[name], pk, now=self.now)
        return True

    def _due(self) -> tuple[datetime, str, int] | None:
        """Return when which row is due next.

        One question for all kinds and no ORM: it is asked at every step.
        """
        each = " UNION ALL ".join(
            f"SELECT GREATEST(next_reconcile_at, lease_expires_at) AS at, '{name}' AS name, id"
            f" FROM {kind.model._meta.db_table} WHERE next_reconcile_at IS NOT NULL"
            for name, kind in self.kinds.items()
        )
        with connection.cursor() as cursor:
            cursor.execute(f"{each} ORDER BY at, name, id LIMIT 1")
            found: tuple[datetime, str, int] | None = cursor.fetchone()
            return found

    @contextmanager
    def dying(self, name: str) -> Iterator[None]:
        """Kill the worker at its next statement or call, when it is to die in such a pass."""
        if name != self.dies_in:
            yield
            return
        try:
            with connection.execute_wrapper(self._count_down):
                yield
        except Died:
            self.deaths += 1

    def _count_down(self, execute: Any, sql: str, *rest: Any) -> Any:
        self.count_down()
        return execute(sql, *rest)

    def count_down(self, call: str = "") -> None:
        """Die, when it is time."""
        self.lives -= 1
        if self.lives == 0:
            raise Died

    def serve(self) -> None:
        """Let callers call until now, in whole windows, as the proxy splits their requests."""
        until = windows.floor(self.now)
        while self.told_until < until:
            for endpoint in Endpoint.objects.filter(public_id__in=list(self.traffic)):
                self._one_window(endpoint)
            self.told_until += WINDOW
        if not LastReading.objects.filter(pk=1).update(read_at=self.now):
            LastReading.objects.create(pk=1, read_at=self.now)

    def _one_window(self, endpoint: Endpoint) -> None:
        route = self.router.routes.get(endpoint.public_id)
        told = self.traffic[endpoint.public_id]
        if route is None:
            return
        for revision in endpoint.revisions.all():
            weight = route.weight_of(revision.number)
            if route.candidate == revision.number:
                weight = max(weight, route.mirror)
            requests = self._drawn(told.rate * WINDOW.total_seconds() * weight / 100)
            if requests:
                self._add(revision, told, requests)
            self._tell(revision, told, route)

    def _add(self, revision: Any, told: Traffic, requests: int) -> None:
        counts = histogram.empty()
        slow = self._share(requests, told.slow.get(revision.number, 0.001))
        counts[histogram.bucket_of(400)] += slow
        counts[histogram.bucket_of(10)] += requests - slow
        failed = self._share(requests, told.errors.get(revision.number, 0.005))
        TrafficWindow.objects.create(
            revision=revision, starts_at=self.told_until, requests=requests, errors_5xx=failed,
            latency=counts,
        )  # fmt: skip

    def _tell(self, revision: Any, told: Traffic, route: Route) -> None:
        splits = {each.value: each.weight for each in route.segments}
        for segment, shares in told.rewards.items():
            weight = route.weight_of(revision.number)
            if segment in splits:
                of_candidate = splits[segment]
                candidate = revision.number == route.candidate
                weight = of_candidate if candidate else WHOLE - of_candidate
            each = told.rate * WINDOW.total_seconds() / len(told.rewards)
            if count := self._drawn(each * weight / 100):
                total = self._share(count, shares[revision.number])
                FeedbackWindow.objects.create(
                    revision=revision, metric="accepted", segment=segment,
                    starts_at=self.told_until, count=count, total=total, squares=total,
                )  # fmt: skip

    def _drawn(self, mean: float) -> int:
        return max(0, round(self.random.gauss(mean, mean**0.5))) if mean else 0

    def _share(self, requests: int, share: float) -> int:
        return sum(self.random.random() < share for _ in range(requests))

    def told(self) -> list[tuple[Any, ...]]:
        """Return how every rollout stands, for a failed test."""
        return list(Rollout.objects.values_list("state", "step", "waits_for", "reason"))
