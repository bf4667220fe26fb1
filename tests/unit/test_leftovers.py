"""Which processes are taken for ours, and which never are."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from controlplane.drivers.local import leftovers, postgres, start

Spawn = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start sleeping processes, and end those that a test leaves."""
    started: list[subprocess.Popen[bytes]] = []

    def _spawn(*, group: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["sleep", "60"], env={"PATH": os.environ["PATH"], **environment}, process_group=group
        )
        started.append(process)
        return process

    yield _spawn
    for process in started:
        process.kill()
        process.wait()


def pids(instance: str, folder: Path) -> list[int]:
    return [process.pid for process in leftovers.find(instance, data=folder)]


def test_only_processes_with_this_homes_tag_are_found(spawn: Spawn, tmp_path: Path) -> None:
    ours = spawn(MODELYARD_INSTANCE="mine")
    spawn(MODELYARD_INSTANCE="another")
    spawn()
    assert pids("mine", tmp_path) == [ours.pid]


def test_leftovers_are_ended_and_strangers_are_not(spawn: Spawn, tmp_path: Path) -> None:
    ours, stranger = spawn(MODELYARD_INSTANCE="mine"), spawn(MODELYARD_INSTANCE="another")
    killed = leftovers.end(leftovers.find("mine", data=tmp_path), seconds=5)
    assert killed == []
    assert not psutil.pid_exists(ours.pid)
    assert stranger.poll() is None


def test_a_recycled_process_number_is_never_signalled(spawn: Spawn) -> None:
    stranger = spawn()
    remembered = psutil.Process(stranger.pid)
    remembered._create_time = 1.0  # another process had this number once
    remembered._ident = (remembered.pid, 1.0)
    leftovers.end([remembered], seconds=0.2)
    assert stranger.poll() is None


def test_a_lock_file_with_a_strangers_number_is_cleared_and_the_stranger_lives(
    spawn: Spawn, tmp_path: Path
) -> None:
    stranger = spawn()
    (tmp_path / "postmaster.pid").write_text(f"{stranger.pid}\n{tmp_path}\n")
    postgres.take_over(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()
    assert stranger.poll() is None


def test_a_new_start_ends_the_orphans_of_the_last_one_but_not_its_jobs(spawn: Spawn) -> None:
    tags = {"MODELYARD_INSTANCE": "mine", "MODELYARD_PART": "worker"}
    dead_leader = spawn(group=0)
    group = dead_leader.pid
    orphan = spawn(group=group, MODELYARD_GROUP=str(group), **tags)
    job = spawn(group=0, MODELYARD_GROUP=str(group), **tags)
    other = spawn(group=group, MODELYARD_GROUP=str(group), **tags | {"MODELYARD_PART": "web"})
    start.end_orphans("mine", "worker")
    assert orphan.wait(5) == -signal.SIGKILL
    assert [job.poll(), other.poll(), dead_leader.poll()] == [None, None, None]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent signal")
def test_a_program_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    launch = tmp_path / "launch.json"
    launch.write_text(
        '{"argv": ["sleep", "60"], "cwd": "/", "stop_signal": "TERM",'
        ' "environment": {"MODELYARD_PART": "x"}}'
    )
    supervisor = subprocess.Popen(
        ["/bin/sh", "-c", '"$@" & echo $!; wait', "sh", sys.executable, start.__file__, launch],
        stdout=subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    child = psutil.Process(int(supervisor.stdout.readline()))
    while child.name() != "sleep":
        time.sleep(0.02)
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    child.wait(5)
