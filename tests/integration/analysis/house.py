"""Analyses over a real database: windows are rows, and the clock is an argument."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.analysis import selectors, services
from apps.analysis.asking import AskingReconciler
from apps.analysis.domain import spec
from apps.analysis.domain.ending import Standing
from apps.analysis.domain.values import Allowance, Answer, Metric, MetricKind, SourceKind
from apps.analysis.models import AnalysisRun, Asking
from apps.analysis.reconcile import AnalysisReconciler
from apps.audit.models import AuditEvent
from apps.endpoints.models import Revision
from apps.monitoring.domain import histogram
from apps.monitoring.models import LastReading, TrafficWindow
from controlplane.drivers.memory.metrics import MemorySource
from controlplane.kernel.actor import worker
from tests import factories
from workers import loop
from workers.loop import Kind

START = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
ROLLOUTS = worker("rollouts")
LEASE = timedelta(seconds=45)
TEN = timedelta(seconds=10)
GOOD: dict[str, Any] = {"stable": (5000, 5, 5), "canary": (500, 0, 0)}
MEMORY = Metric(
    "memory", "Memory", MetricKind.MEAN, SourceKind.PROMETHEUS, query="rss{{{revision}}}",
    tolerance=Allowance(relative=0.2), margin=Allowance(relative=0.5),
)  # fmt: skip


class House:
    """An analysis, the traffic of its two sides, and a clock that jumps to what is due next."""

    def __init__(
        self, *metrics: Metric, same: bool = False, stable: bool = True, number: int = 1
    ) -> None:
        self.now = START
        self.kind = Kind(AnalysisRun, lambda: AnalysisReconciler())
        self.source = MemorySource()
        self.asks = Kind(Asking, lambda: AskingReconciler({SourceKind.PROMETHEUS: self.source}))
        self.stable: Revision = factories.revision()
        variant = self.stable.variant if same else None
        self.canary: Revision = factories.revision(
            endpoint=self.stable.endpoint, variant=variant, state="shifting"
        )
        self.has_stable = stable
        self.metrics = metrics or spec.defaults(250)
        self.begin(number)

    def begin(self, number: int) -> None:
        self.subject = f"rollout/{number}"
        services.begin(
            actor=ROLLOUTS, subject=self.subject, stable=self.stable if self.has_stable else None,
            candidate=self.canary, wakes=("rollout", 7), now=self.now,
            plan={
                "metrics": spec.as_document(self.metrics), "alpha": 0.05,
                "limits": {"page_share": 0.2, "least_errors": 10, "restarts": 2},
            },
        )  # fmt: skip

    @property
    def run(self) -> AnalysisRun:
        return AnalysisRun.objects.get(subject=self.subject)

    def window(
        self, side: str, requests: int, errors: int = 0, slow: int = 0, refused: int = 0
    ) -> None:
        """Write what one side did in the window that begins now."""
        latency = histogram.empty()
        latency[histogram.bucket_of(20)] = requests - slow
        latency[histogram.bucket_of(900)] = slow
        TrafficWindow.objects.create(
            revision=getattr(self, side), starts_at=self.now, requests=requests,
            errors_4xx=refused, errors_5xx=errors, latency=latency,
        )  # fmt: skip

    def read_proxy(self) -> None:
        LastReading.objects.update_or_create(pk=1, defaults={"read_at": self.now})

    def ten_seconds(
        self,
        *,
        stable: tuple[int, ...] | None = (500, 1),
        canary: tuple[int, ...] | None = (50, 0),
        step: Callable[[], Any] | None = None,
    ) -> None:
        """Let one window pass, with the passes that fall due in it and just after it."""
        if stable:
            self.window("stable", *stable)
        if canary:
            self.window("canary", *canary)
        until = self.now + TEN
        (step or self.due)()
        self.now = until
        self.read_proxy()

    def due(self) -> None:
        """Run every pass that falls due within the next ten seconds."""
        until = self.now + TEN
        while (at := self.run.next_reconcile_at) is not None and at < until:
            self.now = max(self.now, at)
            loop.reconcile_one(self.kind, self.run.pk, now=self.now)
            if (after := self.run.next_reconcile_at) is not None:
                assert after > self.now, "a pass that is due again at once would never rest"
        self.now = until - TEN

    def look(self) -> AnalysisRun:
        """Run one pass now."""
        self.now += timedelta(seconds=3)
        loop.reconcile_one(self.kind, self.run.pk, now=self.now)
        return self.run

    def goes_on(self, windows: int, **traffic: Any) -> AnalysisRun:
        for _ in range(windows):
            self.ten_seconds(**traffic)
        return self.look()

    def until(self, answer: Answer, *, windows: int, **traffic: Any) -> AnalysisRun:
        """Let windows pass until there is an answer."""
        for _ in range(windows):
            self.ten_seconds(**traffic)
            if self.run.answer == answer:
                return self.run
        raise AssertionError(f"{self.run.answer} after {windows} windows: {self.run.sentence}")

    @property
    def standing(self) -> Standing:
        return selectors.standing(self.run, self.now)

    def counted(self, metric: str = "errors") -> tuple[float, float]:
        finding = next(f for f in self.run.findings if f["metric"] == metric)
        return finding["stable_total"], finding["canary_total"]


def asked(house: House) -> Asking:
    row = Asking.objects.get()
    loop.reconcile_one(house.asks, row.pk, now=house.now)
    row.refresh_from_db()
    return row


def verbs() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))
