"""The keeper: starts the steps in their sandbox, waits, and writes down how they ended.

0. Take the job folder's lock, and hold it for life: a second keeper finds it taken and goes away,
   and whoever wants to know whether the job is alive tries the lock.
1. Fork. The child goes behind the walls and runs the steps; its output is the log.
2. Wait no longer than the wall time; end the whole job when it is over.
3. Write exit.json. A job folder without one, and without a live keeper, was lost.

The keeper never loads a model and never reads what the steps wrote except the log's tail.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from workers.toolchain import problems, report, sandbox, spec
from workers.toolchain.problems import Problem

TAIL = 4096  # bytes of the log that are searched for the words of a failed allocation
OUT_OF_MEMORY = (b"std::bad_alloc", b"MemoryError", b"Cannot allocate memory", b"out of memory")


def main(job: Path, hide: Path | None) -> int:
    """Run the job in `job`; return 0 when it ended well.

    Args:
        job: The job folder.
        hide: The product's state folder, which the steps may not see.
    """
    lock = os.open(job / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    report.write_json(job / "keeper.json", {"pid": os.getpid()})
    told = spec.read(job)
    told.out.mkdir(exist_ok=True)
    (told.out / "tmp").mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        os.close(lock)
        _steps(told, hide)
    code, timed_out = _wait(child, told.limits.wall_seconds)
    problem = _problem(told, code, timed_out=timed_out)
    if problem is not None:
        with (job / "log").open("a") as log:
            log.write(f"!! {problem.sentence} {problem.remedy}\n")
    report.write_json(
        job / "exit.json",
        {"code": code, "problem": problem.as_json() if problem else None},
    )
    return 0 if code == 0 else 1


def _steps(told: spec.Spec, hide: Path | None) -> NoReturn:
    """Go behind the walls and run the steps; never return."""
    code = 1
    try:
        for sentence in sandbox.enter(told.job, told.out, told.limits, hide=hide):
            report.say(sentence)
        from workers.toolchain import steps

        code = steps.run(told)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, seconds: int) -> tuple[int, bool]:
    """Return the child's exit code (negative for a signal) and whether its time was up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), False
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), True


def _problem(told: spec.Spec, code: int, *, timed_out: bool) -> Problem | None:
    """Return the problem that the steps themselves could not report, if there is one."""
    if timed_out:
        return problems.timeout(told.limits.wall_seconds)
    if code in (0, 1):  # they ended by themselves; the report says how
        return None
    number = -code if code < 0 else code - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else f"code {code}"
    if number == signal.SIGKILL or any(word in _tail(told.job) for word in OUT_OF_MEMORY):
        return problems.out_of_memory(told.limits.memory_bytes)
    if number == signal.SIGXCPU:
        return problems.timeout(told.limits.cpu_seconds)
    return problems.crashed(name)


def _tail(job: Path) -> bytes:
    with (job / "log").open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - TAIL))
        return log.read()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]) if sys.argv[2:] else None))
