"""Work of `bench.rollouts`, inside its database: so many rollouts at once, through the real loop.

Everything is real but the outside: PostgreSQL, the loop, the passes over endpoints, rollouts and
analyses, the meter's windows. Model servers and the proxy are dictionaries, and requests are
counted by a generator: what is measured is the control plane alone.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

import django

django.setup()

from django.db import transaction  # noqa: E402

from apps.endpoints.facts import spec_of  # noqa: E402
from apps.environments.models import Environment  # noqa: E402
from apps.monitoring.domain import histogram  # noqa: E402
from apps.monitoring.domain.windows import Counts  # noqa: E402
from apps.monitoring.ports import Reading  # noqa: E402
from apps.monitoring.reconcile import Measurer  # noqa: E402
from apps.rollouts import services  # noqa: E402
from apps.rollouts.domain import authorization as a  # noqa: E402
from apps.rollouts.models import Rollout  # noqa: E402
from controlplane.db import nudge  # noqa: E402
from controlplane.db.reconcile import Claim  # noqa: E402
from controlplane.drivers.memory.serving import MemoryMeter  # noqa: E402
from controlplane.kernel.actor import worker  # noqa: E402
from controlplane.kernel.errors import ControlPlaneError  # noqa: E402
from tests import factories  # noqa: E402
from tests.rolling import House  # noqa: E402
from workers import loop  # noqa: E402
from workers.loop import Kind, ManyAtOnce, Reconciler  # noqa: E402

RATE = 5.0  # requests per second at each endpoint
READ_EVERY = 2.0  # seconds, as the beat has it
SWEEP_EVERY = 1.0
BATCH = 50  # rollouts that are begun together
LADDER = {
    "kind": "canary",
    "steps": [{"weight": w, "hold_seconds": 3600, "deadline_seconds": 3600} for w in (10, 50)],
}


@dataclass
class Timed:
    """A reconciler that notes how late each pass is, in seconds.

    Attributes:
        inner: Runs the passes.
        lags: One of each pass.
    """

    inner: Reconciler
    lags: list[float]

    def __call__(self, claim: Claim[Any], at: datetime) -> None:
        """Run one pass."""
        self._note([claim], at)
        self.inner(claim, at)

    def together(self, claims: Sequence[Claim[Any]], at: datetime) -> Sequence[Claim[Any]]:
        """Run the passes that can be run together."""
        if not isinstance(self.inner, ManyAtOnce):
            return claims
        left = self.inner.together(claims, at)
        alone = {claim.row.pk for claim in left}
        self._note([claim for claim in claims if claim.row.pk not in alone], at)
        return left

    def park(self, claim: Claim[Any], error: ControlPlaneError, at: datetime) -> None:
        """Park a row."""
        self.inner.park(claim, error, at)

    def _note(self, claims: Sequence[Claim[Any]], at: datetime) -> None:
        for claim in claims:
            due = claim.row.next_reconcile_at
            self.lags.append((at - due).total_seconds() if due else 0.0)


class Bench:
    """So many endpoints, each in the middle of a rollout."""

    def __init__(self, size: int) -> None:
        """Lay everything, and bring every canary to its first step."""
        self.house, self.random = House(), random.Random(1)
        self.counts: dict[tuple[str, int], Counts] = {}
        self.meter = MemoryMeter(Reading(started_at=datetime.now(UTC), counts=self.counts))
        self.measure = Measurer(self.meter)
        self.lags: dict[str, list[float]] = {name: [] for name in self.house.kinds}
        self.kinds = {name: self._timed(name, kind) for name, kind in self.house.kinds.items()}
        environment = Environment.objects.get_or_create(slug="many", defaults={"title": "Many"})[0]
        for first in range(0, size, BATCH):
            with transaction.atomic():
                for number in range(first, min(first + BATCH, size)):
                    self._begin(number, environment)
        self.began_within = self._settle()

    def _begin(self, number: int, environment: Environment) -> Rollout:
        revision = factories.revision(endpoint=factories.endpoint(environment=environment.slug))
        endpoint = revision.endpoint
        self.house.servers.start(spec_of(endpoint, revision))
        version = factories.version(model=endpoint.model)
        variant = factories.variant(version=version)
        return services.start(
            authorization=a.Authorization(
                f"b{number:011d}", "sha256:set", variant.bundle_digest, a.Ground.APPROVED
            ),
            plan=services.Plan(version, variant, environment, "", 1, {}, LADDER, number + 1),
            actor=worker("releases"),
            reason="bench",
        )

    def _settle(self) -> float:
        """Let all begin at once; return how long it took until each had its first step, in s."""
        begun = time.monotonic()
        while Rollout.objects.filter(step_seen_at=None).exists():
            self._sweep()
        took = time.monotonic() - begun
        for kind in self.kinds.values():  # what came due meanwhile is no lag
            while loop.sweep(kind, now=now):
                pass
        return took

    def _sweep(self) -> None:
        for kind in self.kinds.values():
            loop.sweep_all(kind, now=now)

    def _timed(self, name: str, kind: Kind) -> Kind:
        timed = Timed(kind.reconciler(), self.lags[name])
        return replace(kind, reconciler=lambda: timed)

    def run(self, seconds: float) -> dict[str, Any]:
        """Run the loop as a worker does, and say what it did."""
        for lags in self.lags.values():
            lags.clear()
        begun, cpu = time.monotonic(), time.process_time()
        next_read = next_sweep = begun
        idle = 0.0
        while (at := time.monotonic()) < begun + seconds:
            if at >= next_read:
                self._call()
                self.measure(now())
                next_read += READ_EVERY
            if at >= next_sweep:
                self._sweep()
                next_sweep = max(next_sweep + SWEEP_EVERY, time.monotonic() - SWEEP_EVERY)
            pause = max(0.0, min(next_read, next_sweep) - time.monotonic())
            time.sleep(pause)
            idle += pause
        took = time.monotonic() - begun
        return {
            "passes_per_s": sum(map(len, self.lags.values())) / took,
            "cpu_share": (time.process_time() - cpu) / took,
            "busy_share": 1 - idle / took,
            "lag_p95_s": {name: _p95(lags) for name, lags in self.lags.items()},
            "passes": {name: len(lags) for name, lags in self.lags.items()},
            "still_running": Rollout.objects.filter(state="progressing").count(),
        }

    def _call(self) -> None:
        """Let callers call for as long as until the next read."""
        for endpoint, route in list(self.house.router.routes.items()):
            for share in route.shares:
                mean = RATE * READ_EVERY * share.weight / 100
                requests = max(0, round(self.random.gauss(mean, mean**0.5))) if mean else 0
                if requests:
                    self._count(endpoint, share.number, requests)

    def _count(self, endpoint: str, number: int, requests: int) -> None:
        key = (endpoint, number)
        before = self.counts.get(key, Counts(latency=tuple(histogram.empty())))
        latency = list(before.latency)
        latency[7] += requests
        failed = sum(self.random.random() < 0.005 for _ in range(requests))
        self.counts[key] = Counts(
            before.requests + requests, 0, before.errors_5xx + failed, tuple(latency)
        )


def now() -> datetime:
    """Return the moment."""
    return datetime.now(UTC)


def _p95(lags: list[float]) -> float:
    return quantiles(lags, n=20)[-1] if len(lags) > 1 else 0.0


def main() -> None:
    """Print what so many rollouts cost, as JSON."""
    nudge._send = lambda *_: None  # the sweep alone: no broker runs here
    size, seconds = int(sys.argv[1]), float(sys.argv[2])
    bench = Bench(size)
    told = {"size": size, "began_within_s": bench.began_within}
    print(json.dumps(told | bench.run(seconds)))


if __name__ == "__main__":
    main()
