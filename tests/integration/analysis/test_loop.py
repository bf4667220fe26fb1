"""The loop of analyses over a real database: windows are rows, and the clock is an argument."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from apps.analysis import asking, reconcile, selectors, services
from apps.analysis.asking import AskingReconciler
from apps.analysis.domain import spec
from apps.analysis.domain.ending import Standing
from apps.analysis.domain.looking import NO_STABLE
from apps.analysis.domain.queries import Measured, Query, Side
from apps.analysis.domain.values import (
    Allowance,
    Answer,
    Better,
    Metric,
    MetricKind,
    SourceKind,
)
from apps.analysis.models import AnalysisRun, Asking, Look, Measurement
from apps.analysis.reconcile import AnalysisReconciler
from apps.audit.models import AuditEvent
from apps.endpoints.models import Revision
from apps.monitoring.domain import histogram
from apps.monitoring.models import FeedbackWindow, LastReading, TrafficWindow
from controlplane.db.reconcile import claim_one
from controlplane.drivers.memory.metrics import MemorySource
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import ControlPlaneError, Permanent, Transient
from tests import factories
from workers import loop
from workers.loop import Kind

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
ROLLOUTS = worker("rollouts")
LEASE = timedelta(seconds=45)
TEN = timedelta(seconds=10)


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


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


def verbs() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))


# --- what it comes to ---------------------------------------------------------------------------


def test_a_good_canary_is_proven_not_worse_and_its_rollout_is_woken(
    django_capture_on_commit_callbacks: Any, sent: list[tuple[str, int]]
) -> None:
    house = House()
    with django_capture_on_commit_callbacks(execute=True):
        run = house.until(Answer.NOT_WORSE, windows=200, stable=(5000, 5, 5), canary=(500, 0, 0))
    assert (run.state, run.problem, run.limit_hit) == ("running", "", "")
    assert house.standing.answer is Answer.NOT_WORSE
    assert ("rollout", 7) in sent
    assert verbs() == ["analysis.begin", "analysis.judge"]
    told = AuditEvent.objects.get(verb="analysis.judge")
    assert (told.after, told.reason) == ({"answer": "not_worse"}, run.sentence)


def test_a_canary_that_refuses_what_stable_takes_is_proven_worse() -> None:
    run = House().until(Answer.WORSE, windows=60, stable=(500, 1, 0, 5), canary=(50, 0, 0, 12))
    assert run.sentence.startswith("The canary refuses more requests")


def test_refusals_that_both_sides_share_are_nobodys_fault() -> None:
    run = House().goes_on(40, stable=(500, 1, 0, 200), canary=(50, 0, 0, 20))
    assert run.answer != Answer.WORSE


def test_a_bad_canary_is_proven_worse() -> None:
    house = House()
    house.goes_on(3)
    run = house.until(Answer.WORSE, windows=60, canary=(50, 4))
    assert "fails more often" in run.sentence
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    assert house.run.state == "failing"
    assert verbs()[-2:] == ["analysis.judge", "analysis.fail"]


def test_a_slow_canary_is_proven_worse() -> None:
    house = House()
    house.goes_on(3)
    run = house.until(Answer.WORSE, windows=60, canary=(50, 0, 25))
    assert "slower" in run.sentence


def test_what_is_proven_stays_proven_while_the_canary_gets_nothing() -> None:
    house = House()
    house.until(Answer.WORSE, windows=60, canary=(50, 8))
    assert house.goes_on(12, canary=None).answer == Answer.WORSE


# --- silence ------------------------------------------------------------------------------------


def test_no_traffic_is_not_yet_however_long_it_lasts() -> None:
    house = House()
    run = house.goes_on(30, stable=None, canary=None)
    assert (run.answer, run.remaining_seconds, run.state) == ("not_yet", None, "running")
    assert house.counted() == (0, 0)
    assert not Look.objects.exists()


def test_traffic_that_only_stable_gets_proves_nothing() -> None:
    house = House()
    run = house.goes_on(30, canary=None)
    assert (run.answer, house.counted()) == ("not_yet", (15_000, 0))


def test_a_proxy_that_nobody_reads_is_not_taken_for_silence() -> None:
    house = House()
    house.goes_on(3)
    until = house.run.consumed_until
    for _ in range(12):
        house.now += TEN
        house.look()
    assert house.run.consumed_until == until
    assert house.counted() == (1500, 150)


def test_without_a_stable_revision_only_hard_limits_hold() -> None:
    house = House(stable=False)
    run = house.goes_on(30, stable=None)
    assert (run.answer, run.sentence) == ("not_yet", NO_STABLE)
    house.goes_on(1, stable=None, canary=(400, 390))
    assert "failed 390 of 600 requests" in house.run.limit_hit


def test_the_window_that_still_fills_is_no_evidence() -> None:
    house = House()
    house.goes_on(2)
    house.window("stable", 500, 1)
    house.window("canary", 50, 2)
    house.look()
    assert house.counted() == (1000, 100)


def test_windows_that_began_before_the_run_do_not_count() -> None:
    house = House()
    AnalysisRun.objects.all().delete()
    for _ in range(3):
        house.ten_seconds(canary=(50, 50), step=lambda: None)
    house.now += timedelta(seconds=4)
    house.begin(2)
    house.now -= timedelta(seconds=4)
    house.ten_seconds(canary=(50, 50), step=lambda: None)
    house.goes_on(1)
    assert (house.counted(), house.run.limit_hit) == ((500, 50), "")


def test_what_came_while_no_worker_looked_is_looked_at_afterwards() -> None:
    house = House()
    house.goes_on(2)
    for _ in range(30):
        house.ten_seconds(step=lambda: None)
    assert house.standing.stale
    house.look()
    assert (house.counted(), house.standing.stale) == ((32 * 500, 32 * 50), False)


# --- steps --------------------------------------------------------------------------------------


GOOD: dict[str, Any] = {"stable": (5000, 5, 5), "canary": (500, 0, 0)}


def test_a_new_step_is_proven_by_what_came_in_it() -> None:
    house = House()
    house.until(Answer.NOT_WORSE, windows=200, **GOOD)
    house.now += timedelta(seconds=4)
    services.step(actor=ROLLOUTS, subject=house.subject, index=1, now=house.now)
    assert house.standing.answer is Answer.NOT_YET
    house.look()
    assert (house.standing.answer, house.run.judged_step) == (Answer.NOT_YET, 0)
    house.now = house.run.step_at - timedelta(seconds=4)
    house.ten_seconds(**GOOD)
    house.ten_seconds(**GOOD)
    assert (house.run.answer, house.run.judged_step) == ("not_yet", 1)
    house.until(Answer.NOT_WORSE, windows=200, **GOOD)


def test_a_step_that_begins_during_a_pass_is_not_lost() -> None:
    house = House()
    house.goes_on(2)
    claim = claim_one(AnalysisRun, house.run.pk, now=house.now, lease=LEASE)
    assert claim is not None
    services.step(actor=ROLLOUTS, subject=house.subject, index=1, now=house.now)
    AnalysisReconciler()(claim, house.now)
    assert (house.run.step, house.run.judged_step, house.run.answer) == (1, 0, "not_yet")
    house.goes_on(2)
    assert (house.run.judged_step, house.counted()) == (1, (2000, 200))


# --- hard limits --------------------------------------------------------------------------------


def test_a_hard_limit_is_hit_before_the_window_is_over() -> None:
    house = House()
    house.goes_on(3)
    house.window("stable", 500, 1)
    house.window("canary", 90, 80)
    run = house.look()
    assert "failed 80 of 240 requests" in run.limit_hit
    assert house.standing.limit_hit == run.limit_hit
    assert verbs()[-1] == "analysis.limit"


def test_a_hard_limit_stays_hit_when_the_canary_gets_nothing_any_more() -> None:
    house = House()
    house.goes_on(1, canary=(50, 40))
    assert house.run.limit_hit
    house.goes_on(12, canary=None)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    assert (house.run.state, verbs().count("analysis.limit")) == ("failing", 1)


def test_what_hits_both_sides_is_no_fault_of_the_canary() -> None:
    house = House()
    run = house.goes_on(6, stable=(500, 400), canary=(50, 40))
    assert (run.limit_hit, run.answer) == ("", "not_worse")


# --- other sources ------------------------------------------------------------------------------


MEMORY = Metric(
    "memory", "Memory", MetricKind.MEAN, SourceKind.PROMETHEUS, query="rss{{{revision}}}",
    tolerance=Allowance(relative=0.2), margin=Allowance(relative=0.5),
)  # fmt: skip


def asked(house: House) -> Asking:
    row = Asking.objects.get()
    loop.reconcile_one(house.asks, row.pk, now=house.now)
    row.refresh_from_db()
    return row


def test_another_source_is_asked_of_both_sides_and_its_numbers_count() -> None:
    house = House(MEMORY)
    house.source.answers = {Side.STABLE: Measured(100.0), Side.CANARY: Measured(250.0)}
    for index in range(30):
        house.now = START + index * asking.EVERY
        house.source.answers[Side.CANARY] = Measured(250.0 + index % 3)
        house.source.answers[Side.STABLE] = Measured(100.0 + index % 2)
        assert asked(house).next_reconcile_at == house.now + asking.EVERY
        house.look()
    assert sorted(house.source.asked[:2]) == ["rss{{1}}", "rss{{2}}"]
    assert house.counted("memory") == (30, 30)
    assert (house.run.answer, Measurement.objects.count()) == ("worse", 30)


def test_no_data_of_another_source_is_not_yet() -> None:
    house = House(MEMORY)
    row = asked(house)
    house.look()
    assert (row.problem, house.run.state, house.run.answer) == ("", "running", "not_yet")
    assert house.counted("memory") == (0, 0)


@pytest.mark.parametrize("error", [Transient("Silence."), Permanent("Two series.")])
def test_a_source_that_cannot_be_asked_is_an_error_that_keeps_the_evidence(
    error: ControlPlaneError,
) -> None:
    house = House(*spec.defaults(), MEMORY)
    house.goes_on(3)
    house.source.problem = error
    row = asked(house)
    assert row.next_reconcile_at == house.now + asking.FIRST_PAUSE
    run = house.goes_on(3)
    assert (run.state, run.problem, run.answer) == ("errored", error.sentence, "not_yet")
    assert house.counted() == (3000, 300)
    house.source.problem = None
    house.now += timedelta(minutes=2)
    asked(house)
    run = house.look()
    assert (run.state, run.problem) == ("running", "")
    assert verbs()[-2:] == ["analysis.fault", "analysis.recover"]


def test_a_source_that_is_silent_for_a_moment_is_no_error_yet() -> None:
    house = House(MEMORY)
    asked(house)
    house.now += asking.EVERY
    house.source.problem = Transient("Silence.")
    assert asked(house).problem == "Silence."
    house.now += timedelta(seconds=5)
    assert (house.look().state, house.run.problem) == ("running", "")
    house.now += timedelta(seconds=5)
    assert (house.look().state, house.run.problem) == ("errored", "Silence.")


def test_a_source_is_asked_later_each_time_and_at_least_every_minute() -> None:
    house = House(MEMORY)
    house.source.problem = Transient("Silence.")
    pauses = []
    for _ in range(7):
        row = asked(house)
        assert row.next_reconcile_at is not None
        pauses.append((row.next_reconcile_at - house.now).total_seconds())
        house.now = row.next_reconcile_at
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_an_error_does_not_hide_that_the_canary_is_worse() -> None:
    house = House(*spec.defaults(), MEMORY)
    house.source.problem = Transient("Silence.")
    asked(house)
    house.goes_on(5, canary=(50, 1))
    house.until(Answer.WORSE, windows=60, canary=(50, 8))
    assert (house.run.state, house.standing.answer) == ("errored", Answer.WORSE)
    assert house.standing.problem == "Silence."


def test_what_was_not_worse_is_not_said_while_a_source_is_silent() -> None:
    metric = Metric(**{**MEMORY.__dict__, "required": False})
    house = House(*spec.defaults(), metric)
    house.goes_on(6, **GOOD)
    assert house.run.answer == Answer.NOT_WORSE
    house.source.problem = Transient("Silence.")
    asked(house)
    house.look()
    assert (house.standing.answer, house.standing.sentence) == (Answer.NOT_YET, "Silence.")
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    assert house.run.state == "inconclusive"


@pytest.mark.parametrize(
    ("measured", "code"),
    [
        (Measured(0.1), "analysis.share_without_count"),
        (Measured(1.5, 20), "analysis.no_share"),
        (Measured(-0.1, 20), "analysis.no_share"),
    ],
)
def test_a_share_must_be_one_and_say_of_how_many(measured: Measured, code: str) -> None:
    metric = Metric(**{**MEMORY.__dict__, "kind": MetricKind.RATE})
    house = House(metric)
    house.source.answers = {Side.STABLE: Measured(0.1, 100), Side.CANARY: measured}
    assert asked(house).problem_code == code
    house.source.answers[Side.CANARY] = Measured(0.2, 10)
    house.now += timedelta(minutes=1)
    assert asked(house).problem == ""
    house.look()
    assert house.counted("memory") == (100, 10)


def test_a_source_that_is_not_set_up_says_so() -> None:
    metric = Metric(**{**MEMORY.__dict__, "source": SourceKind.JOB})
    house = House(metric)
    assert asked(house).problem == "Nobody can be asked for job metrics here."


def test_nobody_is_asked_any_more_once_the_run_has_ended() -> None:
    house = House(MEMORY)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    row = asked(house)
    assert (row.next_reconcile_at, house.source.asked) == (None, [])


@pytest.mark.django_db(transaction=True)
def test_nobody_is_asked_while_a_transaction_is_open() -> None:
    house = House(MEMORY)
    opened = []
    house.source.hook = lambda query: opened.append(connection.in_atomic_block)
    claim = claim_one(Asking, Asking.objects.get().pk, now=house.now, lease=LEASE)
    assert claim is not None
    AskingReconciler({SourceKind.PROMETHEUS: house.source})(claim, house.now)
    assert opened == [False, False]


# --- feedback -----------------------------------------------------------------------------------


def test_what_callers_tell_is_compared_once_it_is_whole() -> None:
    metric = Metric(
        "clicked", "Clicked", MetricKind.RATE, SourceKind.FEEDBACK, better=Better.HIGHER,
        tolerance=Allowance(0.01), margin=Allowance(0.05),
    )  # fmt: skip
    house = House(metric)
    for _ in range(4):
        for side, clicks in (("stable", 30), ("canary", 4)):
            for segment in ("", "eu"):
                FeedbackWindow.objects.create(
                    revision=getattr(house, side), metric="clicked", segment=segment,
                    starts_at=house.now, count=50, total=clicks, squares=clicks,
                )  # fmt: skip
        house.now += TEN
    house.look()
    counted = house.counted("clicked")
    assert 0 < counted[0] < 400
    house.now += timedelta(seconds=60)
    house.look()
    house.look()
    assert (house.counted("clicked"), house.run.answer) == ((400, 400), "worse")


# --- what breaks --------------------------------------------------------------------------------


def test_a_plan_that_cannot_be_read_is_an_error_that_says_so() -> None:
    house = House()
    AnalysisRun.objects.update(plan={"metrics": [{"name": "errors", "source": "stars"}]})
    run = house.look()
    assert (run.state, run.answer) == ("errored", "not_yet")
    assert "source is 'stars'" in run.problem


def test_a_fault_of_our_own_is_an_error_of_the_run_and_no_answer() -> None:
    house = House()
    house.goes_on(2)
    AnalysisRun.objects.update(evidence={"format": 0})
    for _ in range(loop.PATIENCE):
        house.look()
        house.now += timedelta(seconds=60)
    assert (house.run.state, house.run.problem_code) == ("errored", "worker.unexpected")


def test_a_worker_that_lost_its_lease_writes_nothing() -> None:
    house = House()
    house.ten_seconds(step=lambda: None)
    claim = claim_one(AnalysisRun, house.run.pk, now=house.now, lease=LEASE)
    assert claim is not None
    AnalysisRun.objects.update(lease_token=None)
    AnalysisReconciler()(claim, house.now)
    assert (house.run.state, house.run.evidence) == ("pending", None)
    assert not Look.objects.exists()


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_a_worker_may_die_at_any_moment_and_nothing_counts_twice(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(*spec.defaults(250), MEMORY)
    house.source.answers = {Side.STABLE: Measured(100.0), Side.CANARY: Measured(101.0)}
    deaths = 0
    for index in range(24):
        if index % 3 == 0:
            asked_at(house)
        house.ten_seconds(step=lambda: None)
        if index % 2:
            deaths += dies(house, moment, monkeypatch)
            house.now += LEASE  # nobody can take it before the lease ends
            house.look()
            house.now = START + (index + 1) * TEN
            AnalysisRun.objects.update(next_reconcile_at=house.now)
        else:
            house.look()
            house.now -= timedelta(seconds=3)
    house.look()
    assert deaths == 12
    assert house.counted("errors") == house.counted("slow") == (24 * 500, 24 * 50)
    assert house.counted("memory") == (8, 8)
    last = Look.objects.filter(metric="errors").order_by("-at")[0]
    assert (last.stable_total, last.canary_total) == (24 * 500, 24 * 50)


def asked_at(house: House) -> None:
    Asking.objects.update(next_reconcile_at=house.now)
    asked(house)


def dies(house: House, moment: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a pass whose worker dies before it records, while it does, or just after it did."""

    def death(*_: Any, **__: Any) -> None:
        raise Died

    whole = AnalysisReconciler.__call__

    def and_dies(self: AnalysisReconciler, claim: Any, now: datetime) -> None:
        whole(self, claim, now)
        raise Died

    with monkeypatch.context() as patch:
        match moment:
            case "before":
                patch.setattr(reconcile, "_write", death)
            case "within":
                patch.setattr(reconcile, "announce_all", death)
            case _:
                patch.setattr(AnalysisReconciler, "__call__", and_dies)
        try:
            house.look()
        except Died:
            return 1
    return 0


# --- what runs learn from each other ------------------------------------------------------------


def test_a_run_learns_how_noisy_its_endpoint_is_from_earlier_ones() -> None:
    house = House(same=True)
    for index in range(60):  # bursts that only one side has: far more than chance explains
        house.ten_seconds(canary=(50, 20 if index % 12 == 0 else 0), step=lambda: None)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    assert house.run.next_reconcile_at is None
    house.begin(2)
    run = house.look()
    learnt = run.dispersion["errors"]
    assert learnt["from"] == "from 60 slices of 1 earlier rollout of the same bytes"
    assert (learnt["value"] > 1.5, learnt["slices"]) == (True, 60)
    assert run.dispersion["slow"]["value"] == 1


def test_a_promoted_canary_teaches_and_a_failed_one_does_not() -> None:
    house = House()
    house.until(Answer.NOT_WORSE, windows=200, **GOOD)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    house.begin(2)
    assert "1 earlier rollout that was promoted" in house.look().dispersion["errors"]["from"]
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    assert house.run.calibration is None
    house.begin(3)
    assert (
        house.look().dispersion["errors"]["from"].endswith("1 earlier rollout that was promoted")
    )


def test_another_endpoints_runs_teach_nothing() -> None:
    house = House(same=True)
    house.goes_on(10)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    house.look()
    assert House(number=2).look().dispersion == {}


# --- curves -------------------------------------------------------------------------------------


def test_each_look_that_saw_something_is_a_point_of_the_curves() -> None:
    house = House()
    house.goes_on(6)
    shown = selectors.looks(house.run, "errors")
    assert [(p.stable_total, p.canary_total) for p in shown] == [
        (500.0 * n, 50.0 * n) for n in range(1, 7)
    ]
    assert all(p.worse > 0 and p.not_worse > 0 for p in shown)


def test_old_looks_and_measurements_are_dropped() -> None:
    house = House(MEMORY)
    house.source.answers = {Side.STABLE: Measured(1.0), Side.CANARY: Measured(1.0)}
    asked(house)
    house.look()
    assert reconcile.tidy(house.now + reconcile.KEPT - TEN) == 0
    assert reconcile.tidy(house.now + reconcile.KEPT + TEN) == 2


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return what is nudged."""
    found: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "controlplane.db.nudge._send", lambda kind, pk, *_: found.append((kind, pk))
    )
    return found


def test_a_query_is_asked_as_of_the_same_moment_for_both_sides() -> None:
    house = House(MEMORY)
    seen: list[Query] = []
    house.source.hook = seen.append
    asked(house)
    assert [q.at for q in seen] == [house.now, house.now]
    assert {q.target.side: q.target.revision for q in seen} == {Side.STABLE: 1, Side.CANARY: 2}
