"""The pass over builds with a fake runner: every end, every death, every cancellation."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db.models import Max

from apps.audit.models import AuditEvent
from apps.builds import selectors, services
from apps.builds.domain.job import (
    JobReport,
    JobSpec,
    JobState,
    Learned,
    Problem,
    StepReport,
    VariantReport,
)
from apps.builds.models import Build, BuildLogChunk, Variant
from apps.builds.reconcile import BuildReconciler
from apps.builds.tidying import tidy_jobs
from apps.registry.models import ModelVersion
from controlplane.kernel.errors import Conflict, Invalid, Permanent
from tests import factories
from workers import loop
from workers.loop import Kind

pytestmark = pytest.mark.django_db
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
STEPS = ("scan", "package", "convert", "optimise", "prove")
ADMIN = factories.actor_with("admin")


class Died(BaseException):
    """The worker's process ended here."""


class FakeRunner:
    """A runner and a store in memory, whose n-th call may kill the worker."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobReport] = {}
        self.specs: dict[str, JobSpec] = {}
        self.logs: dict[str, bytes] = {}
        self.collected: set[str] = set()
        self.stopped: list[str] = []
        self.script: list[JobReport] = succeeding()
        self.calls, self.dies_at, self.dies_after = 0, -1, False

    def start(self, job: str, spec: JobSpec, *, fill: Callable[[Path], None]) -> str:
        with self._call():
            if self._state(job) in (JobState.ABSENT, JobState.LOST):
                starts = self.jobs[job].starts + 1 if job in self.jobs else 1
                self.jobs[job] = JobReport(JobState.RUNNING, starts)
                self.specs[job] = spec
                self.logs.setdefault(job, b"")
            return job

    def observe(self, handle: str) -> JobReport:
        return self.jobs.get(handle, JobReport(JobState.ABSENT))

    def read_log(self, handle: str, *, offset: int, limit: int) -> bytes:
        return self.logs.get(handle, b"")[offset : offset + limit]

    def stop(self, handle: str) -> None:
        with self._call():
            self.stopped.append(handle)
            if self._state(handle) is JobState.RUNNING:
                self.jobs[handle] = replace(self.jobs[handle], state=JobState.FAILED)

    def discard(self, handle: str) -> None:
        self.jobs.pop(handle, None)

    def handles(self) -> list[str]:
        return sorted(self.jobs)

    def has(self, digest: str) -> bool:
        return digest in self.collected

    def collect(self, handle: str, digest: str) -> None:
        with self._call():
            self.collected.add(digest)

    def tick(self) -> None:
        """Let every running job come one report further."""
        for handle, report in self.jobs.items():
            if report.state is JobState.RUNNING and self.script:
                done = len(report.steps)
                told = self.script[min(done, len(self.script) - 1)]
                self.jobs[handle] = replace(told, starts=report.starts)
                self.logs[handle] += f"line {done}\n".encode()

    def _state(self, handle: str) -> JobState:
        return self.observe(handle).state

    def _call(self) -> "Call":
        return Call(self)


class Call:
    """One call to the world, before or after which the worker may die."""

    def __init__(self, runner: FakeRunner) -> None:
        self.runner = runner

    def __enter__(self) -> None:
        self.runner.calls += 1
        if self.runner.calls == self.runner.dies_at and not self.runner.dies_after:
            raise Died

    def __exit__(self, *_: object) -> None:
        if self.runner.calls == self.runner.dies_at and self.runner.dies_after:
            raise Died


def succeeding() -> list[JobReport]:
    def step(name: str) -> StepReport:
        return StepReport(name, "succeeded", START, START + timedelta(seconds=1), f"{name} done")

    reports = [
        JobReport(JobState.RUNNING, 1, [step(name) for name in STEPS[: n + 1]]) for n in range(5)
    ]
    variants = [
        VariantReport(
            "native",
            "built",
            "",
            DIGEST,
            10,
            "mlflow",
            "passed",
            {"p95_ms": 3.0, "agreement": 1.0},
        ),
        VariantReport("onnx", "skipped", "It does not apply."),
    ]
    learned = Learned(
        inputs=[{"name": "input", "datatype": "FP32", "shape": [-1, 3]}],
        facts={"estimator": "LogisticRegression"},
        libraries={"scikit-learn": "1.9.1"},
    )
    return [
        *reports[:4],
        replace(reports[4], state=JobState.SUCCEEDED, variants=variants, learned=learned),
    ]


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def kind(runner: FakeRunner) -> Kind:
    reconciler = BuildReconciler(runner, runner, runtimes=lambda f: [f"{f}-server"], room=2)
    return Kind(Build, lambda: reconciler, lease=timedelta(seconds=5))


@pytest.fixture
def version() -> ModelVersion:
    return factories.version(files={"m.joblib": b"bytes"})


def begin(version: ModelVersion, **options: object) -> Build:
    return services.start(actor=ADMIN, model=version.model.name, number=version.number, **options)  # type: ignore[arg-type]


def drive(kind: Kind, runner: FakeRunner, *, passes: int = 60, tick: bool = True) -> datetime:
    """Sweep as beat would, a second at a time, until nothing is due."""
    due = Build.objects.aggregate(latest=Max("next_reconcile_at"))["latest"]
    now = max(due or START, datetime.now(UTC)) + timedelta(seconds=1)
    for _ in range(passes):
        try:
            loop.sweep(kind, now=lambda: now)  # noqa: B023
        except Died:
            runner.dies_at = -1
            now += kind.lease
        if tick:
            runner.tick()
        now += timedelta(seconds=1)
        if not Build.objects.filter(next_reconcile_at__isnull=False).exists():
            break
    return now


def outcome(build: Build) -> dict[str, object]:
    build.refresh_from_db()
    log = BuildLogChunk.objects.filter(build=build).order_by("offset")
    ledger = AuditEvent.objects.filter(target=f"build/{build.public_id}")
    return {
        "state": build.state,
        "steps": [(s.name, s.state) for s in build.steps.order_by("id")],
        "variants": sorted(build.variants.values_list("kind", "state", "bundle_digest")),
        "log": "".join(log.values_list("text", flat=True)),
        "ledger": sorted(ledger.values_list("verb", flat=True)),
    }


def test_a_build_succeeds_and_teaches_the_version(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    build = begin(version)
    drive(kind, runner)
    version.refresh_from_db()
    found = outcome(build)
    assert found["state"] == "succeeded"
    assert [name for name, _ in found["steps"]] == list(STEPS)  # type: ignore[attr-defined]
    assert found["log"] == "".join(f"line {n}\n" for n in range(5))
    assert found["ledger"] == ["builds.start", "builds.succeed"]
    assert version.state == "validated"
    assert version.inputs == [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}]
    assert version.framework == "scikit-learn 1.9.1"
    native = Variant.objects.get(build=build, kind="native")
    assert (native.runtimes, native.p95_ms) == (["mlflow-server"], 3.0)
    assert selectors.best_variant(version.pk) == native


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 4))
def test_a_worker_may_die_before_or_after_any_call(
    kind: Kind, runner: FakeRunner, version: ModelVersion, at: int, after: bool
) -> None:
    build = begin(version)
    runner.dies_at, runner.dies_after = at, after
    drive(kind, runner)
    expected_steps = [(name, "succeeded") for name in STEPS]
    found = outcome(build)
    assert found["state"] == "succeeded"
    assert found["steps"] == expected_steps
    assert found["ledger"] == ["builds.start", "builds.succeed"]
    assert len(runner.jobs) == 1
    assert next(iter(runner.jobs.values())).starts == 1


def test_an_unsafe_version_is_rejected_with_the_import_that_made_it_so(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    problem = Problem("build.unsafe_pickle", "It would import os.system.", "Do not.", "scan")
    step = StepReport("scan", "failed", START, START)
    runner.script = [JobReport(JobState.FAILED, 1, [step], problem=problem)]
    build = begin(version)
    drive(kind, runner)
    version.refresh_from_db()
    build.refresh_from_db()
    assert (build.state, build.failed_step) == ("failed", "scan")
    assert build.problem_code == "build.unsafe_pickle"
    assert version.state == "rejected"
    assert services.retry(actor=ADMIN, build=build.public_id).attempt == 2


def test_a_failure_of_another_kind_rejects_nothing(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    runner.script = [
        JobReport(JobState.FAILED, 1, problem=Problem("build.timeout", "Slow.", "Wait."))
    ]
    build = begin(version)
    drive(kind, runner)
    version.refresh_from_db()
    assert outcome(build)["state"] == "failed"
    assert version.state == "registered"


def test_a_cancelled_build_stops_its_job(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    build = begin(version)
    drive(kind, runner, passes=2, tick=False)
    services.cancel(actor=ADMIN, build=build.public_id, reason="A mistake.")
    drive(kind, runner)
    assert outcome(build)["state"] == "cancelled"
    assert runner.stopped == [f"{build.public_id}-1"]


def test_a_job_started_while_the_build_was_cancelled_is_stopped(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    build = begin(version)
    start = runner.start

    def cancelled_meanwhile(job: str, spec: JobSpec, *, fill: Callable[[Path], None]) -> str:
        services.cancel(actor=ADMIN, build=build.public_id)
        return start(job, spec, fill=fill)

    runner.start = cancelled_meanwhile  # type: ignore[method-assign]
    drive(kind, runner)
    assert outcome(build)["state"] == "cancelled"
    assert runner.jobs[f"{build.public_id}-1"].state is JobState.FAILED


def test_a_retry_is_a_new_attempt_with_its_own_job_steps_and_log(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    good, runner.script = (
        runner.script,
        [JobReport(JobState.FAILED, 1, problem=Problem("build.timeout", "Slow.", "Wait."))],
    )
    build = begin(version)
    drive(kind, runner)
    runner.script = good
    services.retry(actor=ADMIN, build=build.public_id, reason="Once more.")
    drive(kind, runner)
    build = selectors.build(ADMIN, build.public_id)
    assert (build.state, build.attempt, build.problem_code) == ("succeeded", 2, "")
    assert [s.name for s in selectors.steps(build)] == list(STEPS)
    assert selectors.log(build).text.startswith("line 0\n")


def test_a_lost_job_is_started_again(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    build = begin(version)
    drive(kind, runner, passes=2)
    handle = f"{build.public_id}-1"
    runner.jobs[handle] = replace(runner.jobs[handle], state=JobState.LOST)
    drive(kind, runner)
    assert outcome(build)["state"] == "succeeded"
    assert runner.jobs[handle].starts == 2


def test_damaged_bundles_park_the_build(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    def refuse(handle: str, digest: str) -> None:
        raise Permanent("It is damaged.", remedy="Build again.", code="bundle.corrupt")

    runner.collect = refuse  # type: ignore[method-assign]
    build = begin(version)
    drive(kind, runner)
    build.refresh_from_db()
    assert (build.state, build.problem_code) == ("failed", "bundle.corrupt")


def test_no_more_jobs_run_than_there_is_room_for(kind: Kind, runner: FakeRunner) -> None:
    for _ in range(4):
        begin(factories.version(files={"m.joblib": b"bytes"}))
    drive(kind, runner, passes=3, tick=False)
    assert len(runner.jobs) == 2
    drive(kind, runner)
    assert set(Build.objects.values_list("state", flat=True)) == {"succeeded"}


def test_a_log_line_is_stored_once_and_whole(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    build = begin(version)
    drive(kind, runner, passes=1, tick=False)
    runner.logs[f"{build.public_id}-1"] = "über\n".encode() + b"half a l"
    drive(kind, runner, passes=3, tick=False)
    assert selectors.log(selectors.build(ADMIN, build.public_id)).text == "über\n"
    runner.logs[f"{build.public_id}-1"] += b"ine \x00\xff\n"
    drive(kind, runner, passes=3, tick=False)
    part = selectors.log(selectors.build(ADMIN, build.public_id))
    assert part.text == "über\nhalf a line ��\n"
    assert selectors.log(selectors.build(ADMIN, build.public_id), after=part.next).text == ""


def test_a_version_is_built_once_at_a_time(version: ModelVersion) -> None:
    build = begin(version)
    with pytest.raises(Conflict, match=f"Build {build.number} of") as caught:
        begin(version)
    assert caught.value.code == "build.under_way"
    assert build.public_id in caught.value.remedy


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"state": "archived"}, "build.archived"),
        ({"manifest_digest": None}, "build.no_files_yet"),
        ({"format": "gguf"}, "build.format"),
    ],
)
def test_what_cannot_be_built_is_refused(columns: dict[str, object], code: str) -> None:
    version = factories.version(**{"manifest_digest": "sha256:" + "1" * 64, **columns})
    with pytest.raises((Conflict, Invalid)) as caught:
        begin(version)
    assert caught.value.code == code


def test_new_versions_are_built_unasked_and_once() -> None:
    wanted = factories.version(files={"m.joblib": b"bytes"})
    factories.version(format="gguf", files={"m.gguf": b"bytes"})
    factories.version(mirror_state="adopting")
    factories.version(files={"m.joblib": b"x"}, state="archived")
    factories.version(files={"m.joblib": b"y"}, model=factories.model(archived=True))
    assert services.build_what_is_new() == 1
    assert services.build_what_is_new() == 0
    build = Build.objects.get()
    assert build.version_id == wanted.pk
    assert build.requested_by == "worker:builds"


def test_job_folders_are_dropped_when_nobody_needs_them(
    kind: Kind, runner: FakeRunner, version: ModelVersion
) -> None:
    build = begin(version)
    now = drive(kind, runner)
    runner.jobs["gone0000-1"] = JobReport(JobState.FAILED)
    assert tidy_jobs(runner, now=now) == 1
    assert runner.handles() == [f"{build.public_id}-1"]
    assert tidy_jobs(runner, now=now + timedelta(hours=2)) == 1
