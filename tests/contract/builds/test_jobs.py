"""The job runner and its sandbox, with real processes and real, small and hostile models."""

import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from apps.builds.domain.job import JobReport, JobSpec, JobState
from controlplane.drivers.local.jobs import JobLimits, LocalBundles, LocalJobs
from controlplane.kernel.errors import Permanent

SKLEARN = JobSpec(format="sklearn", policy="allow")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[LocalJobs]:
    runner = LocalJobs(tmp_path / "home", instance="a-test")
    yield runner
    for handle in runner.handles():
        runner.discard(handle)


def holding(content: bytes, name: str = "model.joblib") -> Callable[[Path], None]:
    return lambda folder: (folder / "files" / name).write_bytes(content) and None


def of(model: Any) -> bytes:
    return pickle.dumps(model)


def ended(jobs: LocalJobs, handle: str, seconds: float = 150) -> JobReport:
    deadline = time.monotonic() + seconds
    while (report := jobs.observe(handle)).state is JobState.RUNNING:
        assert time.monotonic() < deadline, jobs.read_log(handle, offset=0, limit=10_000)
        time.sleep(0.05)
    return report


def log(jobs: LocalJobs, handle: str) -> str:
    return jobs.read_log(handle, offset=0, limit=1_000_000).decode()


def logistic() -> LogisticRegression:
    x = np.random.default_rng(0).normal(size=(60, 3))
    return LogisticRegression().fit(x, x[:, 0] > 0)


def hostile(code: str) -> bytes:
    """Return a pickle whose loading runs `code` and that no scan objects to.

    It names only a module in the job's own files, which a scan can at most not vouch for.
    """
    return b"cantidote\nrun\n(V" + code.encode().replace(b"\n", b"\\u000a") + b"\ntR."


def start_hostile(jobs: LocalJobs, handle: str, code: str) -> None:
    """Start a job whose pickle calls `antidote.run`, importable inside the job."""

    def fill(folder: Path) -> None:
        (folder / "files" / "model.pkl").write_bytes(hostile(code))
        (folder / "antidote.py").write_text("def run(code):\n    exec(code, {})\n")

    environment = jobs._environment
    jobs._environment = lambda folder: {  # type: ignore[method-assign]
        **environment(folder),
        "PYTHONPATH": str(folder),
    }
    jobs.start(handle, SKLEARN, fill=fill)


def test_a_model_becomes_bundles(jobs: LocalJobs, tmp_path: Path) -> None:
    jobs.start("aaa-1", SKLEARN, fill=holding(of(logistic())))
    report = ended(jobs, "aaa-1")
    assert report.state is JobState.SUCCEEDED, log(jobs, "aaa-1")
    assert [s.name for s in report.steps] == ["scan", "package", "convert", "optimise", "prove"]
    built = {v.kind: v for v in report.variants if v.state == "built"}
    assert set(built) == {"native", "onnx"}
    assert built["onnx"].verdict == "passed"
    assert built["onnx"].measures["p95_ms"]
    store = LocalBundles(tmp_path / "bundles", jobs)
    for digest in report.digests:
        store.collect("aaa-1", digest)
        assert store.has(digest)
    config = store.layout.read_config(built["onnx"].bundle_digest)
    assert config["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}]


def test_starting_twice_starts_once(jobs: LocalJobs) -> None:
    filled: list[Path] = []
    for _ in range(2):
        jobs.start("aab-1", SKLEARN, fill=lambda folder: filled.append(folder))
    assert len(filled) == 1
    assert ended(jobs, "aab-1").starts == 1
    jobs.start("aab-1", SKLEARN, fill=lambda folder: filled.append(folder))
    assert len(filled) == 1


def test_a_job_outlives_whoever_started_it_and_another_adopts_it(
    jobs: LocalJobs, tmp_path: Path
) -> None:
    child = os.fork()
    if child == 0:
        start_hostile(LocalJobs(tmp_path / "home"), "aac-1", "import time; time.sleep(60)")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 30
    while not jobs.observe("aac-1").steps and time.monotonic() < deadline:
        time.sleep(0.05)
    assert jobs.observe("aac-1").state is JobState.RUNNING
    jobs.stop("aac-1")
    report = jobs.observe("aac-1")
    assert report.state is JobState.FAILED
    assert report.problem is not None
    assert report.problem.code == "build.stopped"


def test_nothing_of_a_stopped_job_runs_on(jobs: LocalJobs) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '7777']); import time; time.sleep(60)"
    start_hostile(jobs, "aad-1", code)
    deadline = time.monotonic() + 60
    while not _sleepers("7777") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _sleepers("7777")
    jobs.stop("aad-1")
    deadline = time.monotonic() + 5
    while _sleepers("7777") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _sleepers("7777")


def _sleepers(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline() == ["sleep", mark] and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_job_whose_keeper_was_killed_is_lost_and_starts_again(jobs: LocalJobs) -> None:
    start_hostile(jobs, "aae-1", "import time; time.sleep(60)")
    deadline = time.monotonic() + 30
    while not jobs.observe("aae-1").steps and time.monotonic() < deadline:
        time.sleep(0.05)
    keeper = jobs.root / "aae-1" / "keeper.json"
    os.kill(int(keeper.read_text().split(":")[1].strip(" }")), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while jobs.observe("aae-1").state is JobState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.05)
    assert jobs.observe("aae-1").state is JobState.LOST
    jobs.start("aae-1", SKLEARN, fill=holding(of(logistic())))
    again = jobs.observe("aae-1")
    assert (again.state, again.starts) == (JobState.RUNNING, 2)


def test_an_unsafe_pickle_never_runs(jobs: LocalJobs, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    content = b"cposix\nsystem\n(Vtouch " + str(mark).encode() + b"\ntR."
    jobs.start("aaf-1", SKLEARN, fill=holding(content, "model.pkl"))
    report = ended(jobs, "aaf-1")
    assert report.problem is not None
    assert report.problem.code == "build.unsafe_pickle"
    assert "posix.system" in report.problem.sentence
    assert report.problem.step == "scan"
    assert not mark.exists()


def test_what_nobody_vouches_for_is_blocked_where_the_policy_says_so(jobs: LocalJobs) -> None:
    spec = JobSpec(format="sklearn", policy="block")
    jobs.start("aag-1", spec, fill=holding(b"cmy_company\nNet\n(tR.", "model.pkl"))
    report = ended(jobs, "aag-1")
    assert report.problem is not None
    assert report.problem.code == "build.unvouched_pickle"


def test_a_model_has_no_network(jobs: LocalJobs) -> None:
    start_hostile(jobs, "aah-1", "import socket; socket.create_connection(('127.0.0.1', 22))")
    report = ended(jobs, "aah-1")
    assert report.problem is not None
    assert report.problem.code == "build.does_not_load"
    assert "no network" in report.problem.sentence


def test_the_network_is_cut_below_python_too(jobs: LocalJobs) -> None:
    code = (
        "import ctypes, os, struct\n"
        "c = ctypes.CDLL(None, use_errno=True)\n"
        "s = c.socket(2, 1, 0)\n"
        "a = struct.pack('<HH4s8x', 2, 22 << 8, bytes([127, 0, 0, 1]))\n"
        "r = c.connect(s, a, 16)\n"
        "raise ValueError(os.strerror(ctypes.get_errno()) if r else 'connected')"
    )
    start_hostile(jobs, "aai-1", code)
    report = ended(jobs, "aai-1")
    assert report.problem is not None
    if "could not be cut" not in log(jobs, "aai-1"):
        assert "Network is unreachable" in report.problem.sentence


def test_a_model_sees_neither_secrets_nor_state_and_writes_nowhere(
    jobs: LocalJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_KEY", "very-secret-indeed")
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "secret").write_text("very-secret-indeed")
    code = (
        "import os, pathlib\n"
        f"home = pathlib.Path({str(tmp_path / 'home')!r})\n"
        "print('ENV', 'very-secret' in str(os.environ))\n"
        "print('HOME', sorted(p.name for p in home.iterdir()))\n"
        "try:\n"
        f"    pathlib.Path({str(tmp_path / 'escaped')!r}).write_text('x'); print('ESCAPED')\n"
        "except OSError as e: print('REFUSED', e.strerror)\n"
        "raise ValueError('done')"
    )
    start_hostile(jobs, "aaj-1", code)
    ended(jobs, "aaj-1")
    said = log(jobs, "aaj-1")
    assert "ENV False" in said
    if "could not" not in said:
        assert "HOME ['jobs']" in said
        assert "REFUSED Read-only file system" in said
        assert not (tmp_path / "escaped").exists()


def test_a_model_that_eats_memory_is_ended(jobs: LocalJobs) -> None:
    jobs.limits = JobLimits(memory_bytes=3 * 1024**3)
    start_hostile(jobs, "aak-1", "x = bytearray(8 * 1024**3)")
    report = ended(jobs, "aak-1")
    assert report.problem is not None
    assert report.problem.code == "build.out_of_memory"
    assert report.problem.step == "package"


def test_a_model_that_hangs_is_ended(jobs: LocalJobs) -> None:
    jobs.limits = JobLimits(wall_seconds=12)
    start_hostile(jobs, "aam-1", "import time; time.sleep(600)")
    report = ended(jobs, "aam-1")
    assert report.problem is not None
    assert report.problem.code == "build.timeout"


def test_a_model_that_crashes_the_process_is_said_to_have(jobs: LocalJobs) -> None:
    start_hostile(jobs, "aan-1", "import ctypes; ctypes.string_at(0)")
    report = ended(jobs, "aan-1")
    assert report.problem is not None
    assert report.problem.code == "build.crashed"
    assert "SIGSEGV" in report.problem.sentence


def test_links_in_a_jobs_output_are_not_followed(jobs: LocalJobs, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"state": "succeeded", "steps": []}')
    out = jobs.root / "aap-1" / "out"
    (out / "bundles").mkdir(parents=True)
    (jobs.root / "aap-1" / "launch.json").write_text('{"starts": 1, "at": 0}')
    (jobs.root / "aap-1" / "exit.json").write_text('{"code": 0, "problem": null}')
    (out / "report.json").symlink_to(tmp_path / "secret.json")
    (out / "bundles" / "blobs").symlink_to(tmp_path)
    assert jobs.observe("aap-1").state is JobState.FAILED
    with pytest.raises(Permanent, match="links"):
        jobs.bundles("aap-1")


@pytest.mark.parametrize("name", ["../x-1", "a", "a-", "A-1", "a/b-1"])
def test_a_handle_names_a_job_and_nothing_else(jobs: LocalJobs, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a job"):
        jobs.observe(name)


def test_building_twice_gives_the_same_digests(jobs: LocalJobs) -> None:
    content = of(logistic())
    for handle in ("aaq-1", "aaq-2"):
        jobs.start(handle, SKLEARN, fill=holding(content))
    one, two = ended(jobs, "aaq-1"), ended(jobs, "aaq-2")
    assert one.digests == two.digests
    assert len(one.digests) == 2


def test_the_keeper_carries_the_instance(jobs: LocalJobs) -> None:
    start_hostile(jobs, "aar-1", "import time; time.sleep(60)")
    deadline = time.monotonic() + 30
    while not (jobs.root / "aar-1" / "keeper.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    keeper = jobs.root / "aar-1" / "keeper.json"
    pid = int(keeper.read_text().split(":")[1].strip(" }"))
    assert psutil.Process(pid).environ()["MODELYARD_INSTANCE"] == "a-test"
    assert "MODELYARD_PART" not in psutil.Process(pid).environ()


def test_joblib_compression_builds_too(jobs: LocalJobs, tmp_path: Path) -> None:
    joblib.dump(logistic(), tmp_path / "z.joblib", compress=3)
    jobs.start("aas-1", SKLEARN, fill=holding((tmp_path / "z.joblib").read_bytes()))
    assert ended(jobs, "aas-1").state is JobState.SUCCEEDED
