"""Build jobs on this machine: a folder each, and a detached process that works in it.

The folder is the whole truth, so any worker may take over from one that died. Whether a job is
alive is told by a lock that its keeper holds for life: no process id that the kernel may have
given to somebody else, and nothing to clean up after the machine restarts.

    HOME/jobs/<build>-<attempt>/       lock  launch.json  spec.json  files/  log  exit.json
    HOME/jobs/<build>-<attempt>/out/   report.json  bundles/: all that the steps can write to

A job's steps ran the model's own code, so what they left is read with suspicion: no links are
followed, sizes are bounded, and bundles are taken over only by verified digest.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from apps.builds.domain.job import (
    FILES,
    JobReport,
    JobSpec,
    JobState,
    Learned,
    Problem,
    StepReport,
    VariantReport,
)
from controlplane.drivers.oci.layout import OciLayout
from controlplane.kernel.errors import Permanent, Transient

NAME = re.compile(r"[a-z0-9]{1,40}-[0-9]{1,5}")
GRACE = 20.0  # seconds from launch until a keeper must have taken its lock
LARGEST_REPORT = 8 * 1024**2
STEP_STATES = frozenset({"running", "succeeded", "failed"})


@dataclass(frozen=True)
class JobLimits:
    """What one job may use; see `workers.toolchain.spec.Limits`."""

    wall_seconds: int = 1200
    cpu_seconds: int = 1200
    memory_bytes: int = 8 * 1024**3
    file_bytes: int = 8 * 1024**3
    open_files: int = 512


class LocalJobs:
    """Runs jobs below one folder; implements `apps.builds.ports.JobRunner`."""

    def __init__(
        self,
        home: Path,
        *,
        instance: str = "",
        limits: JobLimits | None = None,
        program: tuple[str, ...] = (sys.executable, "-m", "workers.toolchain"),
    ) -> None:
        """Use the folder `home`/jobs.

        Args:
            home: The product's state folder, which jobs may not see.
            instance: The running stack's name, which its processes carry in their environment.
            limits: What each job may use.
            program: The build program; it is given the job folder and the folder to hide.
        """
        self.home, self.root = home.resolve(), home.resolve() / "jobs"
        self.instance, self.limits, self.program = instance, limits or JobLimits(), program

    def start(self, job: str, spec: JobSpec, *, fill: Callable[[Path], None]) -> str:
        """Implement `JobRunner.start`."""
        folder = self._folder(job)
        with self._starting(job):
            if self.observe(job).state in (JobState.ABSENT, JobState.LOST):
                starts = _starts(folder) + 1
                self._prepare(folder, spec, fill)
                _write(folder / "launch.json", {"starts": starts, "at": time.time()})
                self._launch(folder)
        return job

    def observe(self, handle: str) -> JobReport:
        """Implement `JobRunner.observe`."""
        folder = self._folder(handle)
        launch = _read(folder / "launch.json")
        if not launch:
            return JobReport(JobState.ABSENT)
        # The lock first: a job that ends in between has its exit.json by the time we look.
        alive = _is_alive(folder)
        ended = _read(folder / "exit.json")
        told = _read(folder / "out" / "report.json")
        report = _parse(told, starts=int(launch.get("starts", 1)))
        if ended:
            return _ended(report, ended, told)
        young = time.time() - float(launch.get("at", 0)) < GRACE
        waiting = young and not (folder / "keeper.json").exists()
        state = JobState.RUNNING if alive or waiting else JobState.LOST
        return _with(report, state)

    def read_log(self, handle: str, *, offset: int, limit: int) -> bytes:
        """Implement `JobRunner.read_log`."""
        try:
            with _open(self._folder(handle) / "log") as log:
                log.seek(offset)
                return log.read(limit)
        except OSError:
            return b""

    def stop(self, handle: str) -> None:
        """Implement `JobRunner.stop`."""
        folder = self._folder(handle)
        deadline = time.monotonic() + 5
        while _is_alive(folder) and time.monotonic() < deadline:
            if pid := _keeper(folder):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            time.sleep(0.05)
        if _is_alive(folder):
            raise Transient(f"The job {handle} could not be ended.", code="build.still_running")
        if (folder / "launch.json").exists() and not (folder / "exit.json").exists():
            problem = Problem("build.stopped", "The build was stopped.", "Retry it.")
            _write(
                folder / "exit.json", {"code": -int(signal.SIGKILL), "problem": asdict(problem)}
            )

    def discard(self, handle: str) -> None:
        """Implement `JobRunner.discard`."""
        self.stop(handle)
        shutil.rmtree(self._folder(handle), ignore_errors=True)
        (self.root / f".{handle}.starting").unlink(missing_ok=True)

    def handles(self) -> list[str]:
        """Implement `JobRunner.handles`."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if NAME.fullmatch(path.name))

    def bundles(self, handle: str) -> OciLayout:
        """Return the layout with the bundles that a job made."""
        folder = self._folder(handle) / "out" / "bundles"
        if folder.is_symlink() or any(p.is_symlink() for p in folder.rglob("*")):
            raise Permanent(
                "The job left links where its bundles should be.",
                remedy="Treat the model as hostile; do not build it again.",
                code="build.hostile",
            )
        return OciLayout(folder)

    def _folder(self, job: str) -> Path:
        if not NAME.fullmatch(job):
            raise ValueError(f"{job!r} is not the name of a job")
        return self.root / job

    def _starting(self, job: str) -> "_Lock":
        self.root.mkdir(parents=True, exist_ok=True)
        return _Lock(self.root / f".{job}.starting")

    def _prepare(self, folder: Path, spec: JobSpec, fill: Callable[[Path], None]) -> None:
        """Make the folder anew; nothing of an earlier start that was lost is used."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / FILES).mkdir(parents=True)
        (folder / "out" / "tmp").mkdir(parents=True)
        fill(folder)
        _write(folder / "spec.json", {**asdict(spec), "limits": asdict(self.limits)})

    def _launch(self, folder: Path) -> None:
        with (folder / "log").open("ab") as log:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    [*self.program, str(folder), str(self.home)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=self._environment(folder),
                    start_new_session=True,
                    close_fds=True,
                )
            except OSError as error:
                raise Transient(
                    f"The build's process could not be started ({error}).",
                    code="build.not_started",
                ) from error
        _forget(process)

    def _environment(self, folder: Path) -> dict[str, str]:
        """Return the whole environment of a job: none of the product's settings or secrets."""
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "HOME": str(folder / "out" / "tmp"),
            "TMPDIR": str(folder / "out" / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",  # the same input gives the same bundle
            "OMP_NUM_THREADS": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "MODELYARD_INSTANCE": self.instance,
        }


class LocalBundles:
    """The bundle store; implements `apps.builds.ports.BundleStore`."""

    def __init__(self, root: Path, jobs: LocalJobs) -> None:
        """Keep bundles at `root`, and take them over from `jobs`."""
        self.layout, self.jobs = OciLayout(root), jobs

    def has(self, digest: str) -> bool:
        """Implement `BundleStore.has`."""
        return self.layout.exists(digest)

    def collect(self, handle: str, digest: str) -> None:
        """Implement `BundleStore.collect`."""
        self.layout.adopt(digest, self.jobs.bundles(handle))


class _Lock:
    """An exclusive lock on a file for the length of a `with` block."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)


_children: list["subprocess.Popen[bytes]"] = []


def _forget(process: "subprocess.Popen[bytes]") -> None:
    """Leave a job to itself; collect those that have ended, or they would stay as zombies."""
    _children[:] = [child for child in [*_children, process] if child.poll() is None]


def _is_alive(folder: Path) -> bool:
    """Return whether a keeper holds the folder's lock."""
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _keeper(folder: Path) -> int:
    """Return the keeper's process id when that process is this job's; 0 otherwise."""
    try:
        pid = int(_read(folder / "keeper.json").get("pid", 0))
        command = psutil.Process(pid).cmdline() if pid > 1 else []
    except (psutil.Error, ValueError, TypeError):
        return 0
    return pid if str(folder) in command else 0


def _starts(folder: Path) -> int:
    return int(_read(folder / "launch.json").get("starts", 0))


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _read(path: Path) -> dict[str, Any]:
    try:
        with _open(path) as stream:
            value = json.loads(stream.read(LARGEST_REPORT))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write(path: Path, body: Mapping[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(body))
    draft.replace(path)


def _ended(report: JobReport, ended: Mapping[str, Any], told: Mapping[str, Any]) -> JobReport:
    """Return what an ended job says; the keeper's own word counts before the steps'."""
    if problem := _problem(ended.get("problem")):
        step = report.steps[-1].name if report.steps else ""
        named = Problem(problem.code, problem.sentence, problem.remedy, problem.step or step)
        return _with(report, JobState.FAILED, named)
    if ended.get("code") == 0 and told.get("state") == "succeeded":
        return _with(report, JobState.SUCCEEDED)
    return _with(report, JobState.FAILED, report.problem)


def _with(report: JobReport, state: JobState, problem: Problem | None = None) -> JobReport:
    return JobReport(state, report.starts, report.steps, report.variants, report.learned, problem)


def _parse(told: Mapping[str, Any], *, starts: int) -> JobReport:
    """Read a report; one that the steps have mangled counts as empty."""
    try:
        return JobReport(
            JobState.RUNNING,
            starts,
            [_step(step) for step in told.get("steps", [])],
            [_variant(variant) for variant in told.get("variants", [])],
            Learned(**told["learned"]) if told.get("learned") else Learned(),
            _problem(told.get("problem")),
        )
    except (KeyError, TypeError, ValueError):
        return JobReport(JobState.RUNNING, starts)


def _step(told: Mapping[str, Any]) -> StepReport:
    if told["state"] not in STEP_STATES:
        raise ValueError(f"{told['state']!r} is no state of a step")
    return StepReport(
        name=str(told["name"])[:12],
        state=str(told["state"]),
        started_at=_time(told["started_at"]),
        ended_at=_time(told["ended_at"]) if told.get("ended_at") else None,
        summary=str(told.get("summary", ""))[:300],
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _variant(told: Mapping[str, Any]) -> VariantReport:
    return VariantReport(
        kind=str(told["kind"])[:20],
        state=str(told["state"])[:8],
        reason=str(told.get("reason", ""))[:500],
        bundle_digest=str(told.get("bundle_digest", ""))[:80],
        size=int(told.get("size", 0)),
        format=str(told.get("format", "")),
        verdict=str(told.get("verdict", "unknown"))[:10],
        measures={str(k): _number(v) for k, v in dict(told.get("measures", {})).items()},
        compatibility=dict(told.get("compatibility", {})),
        proof=dict(told.get("proof", {})),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _problem(told: Any) -> Problem | None:
    if not isinstance(told, dict):
        return None
    return Problem(
        code=str(told.get("code", "build.failed"))[:64],
        sentence=str(told.get("sentence", ""))[:2000],
        remedy=str(told.get("remedy", ""))[:2000],
        step=str(told.get("step", ""))[:12],
    )
