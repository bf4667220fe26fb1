"""Work of `bench.rollouts`, inside its database: so many rollouts at once, through the real loop.

Everything is real but the outside: PostgreSQL, the loop, the passes over endpoints, rollouts and
analyses, the meter's windows. Model servers and the proxy are dictionaries, and requests are
counted by a generator: what is measured is the control plane alone.
"""

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

import django

django.setup()

from django.db import transaction  # noqa: E402

from apps.endpoints.reconcile import spec_of  # noqa: E402
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
from tests import factories  # noqa: E402
from tests.rolling import House  # noqa: E402
from workers import loop  # noqa: E402
from workers.loop import Kind  # noqa: E402

RATE = 5.0  # requests per second at each endpoint
READ_EVERY = 2.0  # seconds, as the beat has it
SWEEP_EVERY = 1.0
BATCH = 50  # rollouts that are begun together
LADDER = {
    "kind": "canary",
    "steps": [{"weight": w, "hold_seconds": 3600, "deadline_seconds": 3600} for w in (10, 50)],
}


class Bench:
    """So many endpoints, each in the middle of a rollout."""

    def __init__(self, size: int) -> None:
        """Lay everything, and bring every canary to its first step."""
        self.house, self.random = House(), random.Random(1)
        self.counts: dict[tuple[str, int], Counts] = {}
        self.meter = MemoryMeter(Reading(started_at=datetime.now(UTC), counts=self.counts))
        self.measure = Measurer(self.meter)
        self.lags: dict[str, list[float]] = {name: [] for name in self.house.kinds}
        self.passes: Counter[str] = Counter()
        self.kinds = {name: self._timed(name, kind) for name, kind in self.house.kinds.items()}
        environment = Environment.objects.get_or_create(slug="many", defaults={"title": "Many"})[0]
        for first in range(0, size, BATCH):
            with transaction.atomic():
                numbers = range(first, min(first + BATCH, size))
                rows = [self._begin(number, environment) for number in numbers]
            self._settle(rows)
        for kind in self.kinds.values():
            loop.sweep(kind, now=now, limit=size)  # what came due meanwhile is no lag

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

    def _settle(self, rows: Sequence[Rollout]) -> None:
        """Run passes over a batch until every canary has its first step in force."""
        waiting = {row.pk: row.endpoint_id for row in rows}
        while waiting:
            for rollout, endpoint in waiting.items():
                loop.reconcile_one(self.kinds["endpoint"], endpoint, now=now())
                loop.reconcile_one(self.kinds["rollout"], rollout, now=now())
            there = Rollout.objects.filter(pk__in=waiting).exclude(step_seen_at=None)
            for pk in there.values_list("pk", flat=True):
                del waiting[pk]

    def _timed(self, name: str, kind: Kind) -> Kind:
        reconciler = kind.reconciler()

        class Timed:
            """Notes how late each pass is."""

            def __call__(inner, claim: Claim[Any], at: datetime) -> None:  # noqa: N805
                due = claim.row.next_reconcile_at
                self.lags[name].append((at - due).total_seconds() if due else 0.0)
                self.passes[name] += 1
                reconciler(claim, at)

            park = staticmethod(reconciler.park)

        return replace(kind, reconciler=Timed)

    def run(self, seconds: float) -> dict[str, Any]:
        """Run the loop as a worker does, and say what it did."""
        self.passes.clear()
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
                for kind in self.kinds.values():
                    loop.sweep_all(kind, now=now)
                next_sweep = max(next_sweep + SWEEP_EVERY, time.monotonic() - SWEEP_EVERY)
            pause = max(0.0, min(next_read, next_sweep) - time.monotonic())
            time.sleep(pause)
            idle += pause
        took = time.monotonic() - begun
        return {
            "passes_per_s": sum(self.passes.values()) / took,
            "cpu_share": (time.process_time() - cpu) / took,
            "busy_share": 1 - idle / took,
            "lag_p95_s": {name: _p95(lags) for name, lags in self.lags.items()},
            "passes": dict(self.passes),
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
    began = time.monotonic()
    bench = Bench(size)
    settled = time.monotonic() - began
    print(json.dumps({"size": size, "settled_s": settled} | bench.run(seconds)))


if __name__ == "__main__":
    main()
