"""One pass over a build: observe its job, decide, do one thing.

1. Observe: what the job says, and whether its bundles are in the store.
2. Decide, by a pure function.
3. Make one call to the outside, or one move of the machine; never both.
4. Record what was seen (steps, log) with it, if this worker still holds the build.

The job's name is made of the build and its attempt, so whoever starts it finds the one that is
there, and a worker that dies anywhere leaves nothing that the next pass does not see.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_never, cast

from django.db import transaction
from django.db.models import F, Max

from apps.audit import services as audit
from apps.builds.domain import decide as d
from apps.builds.domain.job import FILES, JobReport, JobSpec, JobState, Problem, VariantReport
from apps.builds.domain.policy import scan_policy
from apps.builds.domain.states import BUILD, BuildMove, BuildState
from apps.builds.domain.variants import VariantState
from apps.builds.models import Build, BuildLogChunk, BuildStep, Variant
from apps.builds.ports import BundleStore, JobRunner
from apps.builds.services import BUILDER
from apps.registry import blobs
from apps.registry import selectors as registry
from apps.registry import services as registry_services
from apps.registry.domain.inspected import Tensor
from apps.registry.models import ModelVersion
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import Claim
from controlplane.kernel.errors import Conflict, ControlPlaneError

LOOK_AGAIN = timedelta(milliseconds=500)
WAIT_FOR_ROOM = timedelta(seconds=2)
LOG_CHUNK = 64 * 1024
LARGEST_LOG = 4 * 1024**2
TRUNCATED = "\n(the rest of this log is too long to keep)\n"
REJECTING = frozenset({"build.unsafe_pickle", "build.unvouched_pickle", "build.hostile"})
MEASURES = (
    "max_difference", "mean_difference", "agreement", "p50_ms", "p95_ms", "p99_ms", "throughput",
    "memory_mb",
)  # fmt: skip


class BuildReconciler:
    """Drives one build at a time; one per process."""

    def __init__(
        self,
        runner: JobRunner,
        bundles: BundleStore,
        *,
        runtimes: Callable[[str], Sequence[str]],
        room: int = 2,
    ) -> None:
        """Keep what passes need.

        Args:
            runner: Where jobs run.
            bundles: Where bundles are kept.
            runtimes: The names of the runtimes for a bundle format, best first.
            room: How many jobs may run at a time.
        """
        self.runner, self.bundles = runner, bundles
        self.runtimes, self.room = runtimes, room

    def __call__(self, claim: Claim[Build], now: datetime) -> None:
        """Run one pass."""
        report = self.runner.observe(job_name(claim.row))
        collected = all(self.bundles.has(digest) for digest in report.digests)
        action = d.decide(BuildState(claim.row.state), report, collected=collected)
        self._do(action, claim, report, now)

    def _do(  # noqa: C901 - one branch for each action
        self, action: d.Action, claim: Claim[Build], report: JobReport, now: datetime
    ) -> None:
        build = claim.row
        handle = job_name(build)
        match action:
            case d.Start() if not self._has_room(build):
                self._record(claim, report, next_at=now + WAIT_FOR_ROOM)
            case d.Start():
                self._start(claim, handle, report, now)
            case d.Advance(moves):
                state = d.after(BuildState(build.state), moves)
                self._record(claim, report, next_at=now, state=state)
            case d.Collect():
                for digest in report.digests:
                    self.bundles.collect(handle, digest)
                self._record(claim, report, next_at=now)
            case d.Succeed():
                self._succeed(claim, report, now)
            case d.Fail(problem):
                self._fail(claim, report, problem, now)
            case d.Stop():
                self.runner.stop(handle)
                self._record(claim, report, next_at=now)
            case d.Look():
                self._record(claim, report, next_at=now + LOOK_AGAIN)
            case d.Rest():
                more = self._new_log(build) is not None
                self._record(claim, report, next_at=now if more else None)
            case _:
                assert_never(action)

    def park(self, claim: Claim[Build], error: ControlPlaneError, now: datetime) -> None:
        """Fail the build for a reason that trying again cannot mend."""
        problem = Problem(error.code, error.sentence, error.remedy)
        if claim.row.state in (BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED):
            claim.record(next_at=None)
            return
        self._fail(claim, self.runner.observe(job_name(claim.row)), problem, now)

    def _has_room(self, build: Build) -> bool:
        started = Build.objects.filter(state__in=_under_way()).exclude(handle="")
        return started.exclude(pk=build.pk).count() < self.room

    def _start(self, claim: Claim[Build], handle: str, report: JobReport, now: datetime) -> None:
        build = claim.row
        version = registry.version_by_id(build.version_id)
        self.runner.start(handle, _spec(build, version), fill=lambda to: _fill(build, version, to))
        held = self._record(
            claim, report, next_at=now, handle=handle, started_at=build.started_at or now
        )
        if not held and Build.objects.filter(pk=build.pk, state=BuildState.CANCELLED).exists():
            self.runner.stop(handle)  # it was cancelled while we were starting it

    def _succeed(self, claim: Claim[Build], report: JobReport, now: datetime) -> None:
        build = claim.row
        state = BUILD.after(BuildState(build.state), BuildMove.SUCCEED)
        with transaction.atomic():
            if not self._record(claim, report, next_at=now, state=state, ended_at=now, attempts=0):
                return
            self._write_variants(build, report.variants)
            _learn(build, report)
            why = f"Build {build.number} proved it."
            _judge(build, lambda: registry_services.validate(
                actor=BUILDER, version_id=build.version_id, reason=why
            ))  # fmt: skip
            _ledger(build, "builds.succeed", state)

    def _fail(
        self, claim: Claim[Build], report: JobReport, problem: Problem, now: datetime
    ) -> None:
        build = claim.row
        state = BUILD.after(BuildState(build.state), BuildMove.FAIL)
        changes = {
            "state": state,
            "ended_at": now,
            "failed_step": problem.step[:12],
            "problem_code": problem.code[:64],
            "problem": problem.sentence,
            "remedy": problem.remedy,
        }
        with transaction.atomic():
            if not self._record(claim, report, next_at=now, **changes):
                return
            if problem.code in REJECTING:
                _judge(build, lambda: registry_services.reject(
                    actor=BUILDER, version_id=build.version_id, reason=problem.sentence
                ))  # fmt: skip
            _ledger(build, "builds.fail", state, problem.sentence)

    def _record(
        self, claim: Claim[Build], report: JobReport, *, next_at: datetime | None, **changes: Any
    ) -> bool:
        """Write `changes` with what was seen of the job, or nothing when the lease was lost."""
        build = claim.row
        chunk = self._new_log(build) if report.state is not JobState.ABSENT else None
        with transaction.atomic():
            if not claim.record(next_at=next_at, **changes):
                return False
            stepped = _write_steps(build, report)
            _write_log(build, report, chunk)
            _announce(build, moved="state" in changes, stepped=stepped, logged=chunk is not None)
            if next_at is not None and changes.get("state", build.state) != build.state:
                nudge("build", build.pk)
        return True

    def _new_log(self, build: Build) -> tuple[int, bytes] | None:
        """Return the next whole lines of the log and where they begin, if there are any."""
        rows = BuildLogChunk.objects.filter(build=build, attempt=build.attempt)
        offset = rows.aggregate(end=Max(F("offset") + F("length")))["end"] or 0
        if offset >= LARGEST_LOG:
            return None
        read = self.runner.read_log(job_name(build), offset=offset, limit=LOG_CHUNK)
        lines = read[: read.rfind(b"\n") + 1]
        whole = lines if lines or len(read) < LOG_CHUNK else read
        return (offset, whole) if whole else None

    def _write_variants(self, build: Build, reports: Sequence[VariantReport]) -> None:
        Variant.objects.filter(build=build).delete()  # of an earlier attempt
        for told in reports:
            runtimes = self.runtimes(told.format) if told.state == VariantState.BUILT else []
            Variant.objects.create(
                build=build,
                version_id=build.version_id,
                kind=told.kind,
                state=told.state,
                reason=told.reason,
                bundle_digest=told.bundle_digest,
                size=told.size,
                runtimes=list(runtimes),
                compatibility=dict(told.compatibility),
                verdict=told.verdict,
                proof=dict(told.proof),
                **{name: told.measures.get(name) for name in MEASURES},
            )


def job_name(build: Build) -> str:
    """Return the name of the build's job, the same for every try of the same attempt."""
    return f"{build.public_id}-{build.attempt}"


def _under_way() -> list[str]:
    ended = {BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED}
    return [str(state) for state in BuildState if state not in ended]


def _spec(build: Build, version: ModelVersion) -> JobSpec:
    return JobSpec(
        format=version.format,
        inputs=version.inputs,
        outputs=version.outputs,
        variants=build.options.get("variants", []),
        samples=build.options.get("samples_file", ""),
        tolerance=version.model.tolerance,
        min_agreement=version.model.min_agreement,
        policy=scan_policy(version.model.risk_tier),
    )


def _fill(build: Build, version: ModelVersion, folder: Path) -> None:
    """Put the version's files, each checked against its digest, into a job's folder."""
    blobs.materialise(registry.manifest(version.pk), folder / FILES)
    if sha256 := build.options.get("samples_sha256"):
        blobs.write_to(sha256, folder / build.options["samples_file"])


def _write_steps(build: Build, report: JobReport) -> bool:
    """Bring the steps up to date; return whether one changed."""
    known = {s.name: s for s in BuildStep.objects.filter(build=build, attempt=build.attempt)}
    changed = False
    for told in report.steps:
        row = known.get(told.name)
        seen = {"state": told.state, "started_at": told.started_at, "ended_at": told.ended_at}
        seen |= {"summary": told.summary}
        if row is None:
            BuildStep.objects.create(build=build, attempt=build.attempt, name=told.name, **seen)
        elif any(getattr(row, name) != value for name, value in seen.items()):
            BuildStep.objects.filter(pk=row.pk).update(**seen)
        else:
            continue
        changed = True
    return changed


def _write_log(build: Build, report: JobReport, chunk: tuple[int, bytes] | None) -> None:
    if chunk is None:
        return
    offset, lines = chunk
    text = lines.decode(errors="replace").replace("\0", "�")
    if offset + len(lines) >= LARGEST_LOG:
        text += TRUNCATED
    BuildLogChunk.objects.get_or_create(
        build=build,
        attempt=build.attempt,
        offset=offset,
        defaults={
            "step": report.steps[-1].name if report.steps else "",
            "length": len(lines),
            "text": text,
        },
    )


def _announce(build: Build, *, moved: bool, stepped: bool, logged: bool) -> None:
    topic = f"build/{build.public_id}"
    if moved or stepped:
        announce(topic, hint="steps")
    if logged:
        announce(topic, hint="log")
    if moved:
        announce(f"version/{registry.version_by_id(build.version_id).public_id}")
        announce("home")


def _learn(build: Build, report: JobReport) -> None:
    learned = report.learned
    if not learned.inputs:
        return
    framework = next((f"{n} {v}" for n, v in learned.libraries.items() if n in FRAMEWORKS), "")
    registry_services.learn(
        actor=BUILDER,
        version_id=build.version_id,
        inputs=cast(Sequence[Tensor], learned.inputs),
        outputs=cast(Sequence[Tensor], learned.outputs),
        framework=framework,
        facts=learned.facts,
    )


FRAMEWORKS = frozenset({"scikit-learn", "xgboost", "xgboost-cpu", "lightgbm", "torch", "mlflow"})


def _judge(build: Build, verdict: Callable[[], object]) -> None:
    """Tell the registry; a version that was archived meanwhile stays as it is."""
    try:
        with transaction.atomic():
            verdict()
    except Conflict:
        return


def _ledger(build: Build, verb: str, state: BuildState, reason: str = "") -> None:
    version = registry.version_by_id(build.version_id)
    audit.record(
        actor=BUILDER,
        verb=verb,
        target=f"build/{build.public_id}",
        subject=f"{version.model.name} v{version.number}, build {build.number}",
        before={"state": str(build.state)},
        after={"state": str(state)},
        reason=reason,
    )
