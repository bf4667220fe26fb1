"""Environments of servers: made once, whole or not at all, whoever dies on the way."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workers.runtimes import environments
from workers.runtimes.oip.problem import Problem

MAKE = """
import sys
from pathlib import Path
from workers.runtimes import environments
print(environments.make(Path(sys.argv[1]), name="small", requirements=[Path(sys.argv[2])]))
"""


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    listed = tmp_path / "requirements.txt"
    listed.write_text("h11==0.16.0\n")
    return listed


def started(home: Path, requirements: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(home), str(requirements)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def drafts(home: Path) -> list[Path]:
    return list((home / "python").glob(".*.making"))


def test_many_who_ask_at_once_get_the_same_environment(tmp_path: Path, requirements: Path) -> None:
    asking = [started(tmp_path, requirements) for _ in range(4)]
    folders = {process.communicate(timeout=120)[0].strip() for process in asking}
    assert len(folders) == 1
    folder = Path(folders.pop())
    command = [str(environments.python(folder)), "-c", "import h11; print(h11.__version__)"]
    assert subprocess.check_output(command, text=True).strip() == "0.16.0"
    assert drafts(tmp_path) == []


def test_one_who_is_killed_leaves_nothing_that_looks_whole(
    tmp_path: Path, requirements: Path
) -> None:
    with started(tmp_path, requirements) as process:
        while not drafts(tmp_path) and process.poll() is None:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
    folder = environments.make(tmp_path, name="small", requirements=[requirements])
    assert (environments.packages(folder) / "h11").is_dir()
    assert drafts(tmp_path) == []


def test_other_requirements_are_another_environment(tmp_path: Path, requirements: Path) -> None:
    first = environments.make(tmp_path, name="small", requirements=[requirements])
    requirements.write_text("h11==0.14.0\n")
    assert environments.make(tmp_path, name="small", requirements=[requirements]) != first


def test_the_installers_own_words_are_kept(tmp_path: Path, requirements: Path) -> None:
    requirements.write_text("h11==0.0.0.1\n")
    with pytest.raises(Problem) as refused:
        environments.make(tmp_path, name="small", requirements=[requirements])
    assert refused.value.code == "environment.not_installable"
    assert "h11==0.0.0.1" in refused.value.words
    assert drafts(tmp_path) == []


def test_an_index_that_does_not_answer_is_worth_another_try(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(Problem) as refused:
        environments.make(tmp_path, name="small", requirements=[requirements])
    assert refused.value.code == "environment.index_unreachable"
    assert refused.value.status == 75


def test_servers_get_our_modules_and_nothing_else_of_ours(tmp_path: Path) -> None:
    folder = environments.code(tmp_path, ["oip"])
    modules = {str(path.relative_to(folder)) for path in folder.rglob("*.py")}
    assert "workers/runtimes/oip/protocol.py" in modules
    assert not any("wiring" in module or "pyfunc" in module for module in modules)
    assert environments.code(tmp_path, ["oip"]) == folder


def test_only_environments_that_nobody_uses_are_dropped(
    tmp_path: Path, requirements: Path
) -> None:
    now = datetime.now(UTC)
    old = now - environments.UNUSED_FOR - timedelta(hours=1)

    def environment(key: str, *, touched: datetime) -> Path:
        folder = tmp_path / "python" / f"pyfunc-{key * 20}"
        (folder / "bin").mkdir(parents=True)
        os.utime(folder, (touched.timestamp(), touched.timestamp()))
        return folder

    unused, young = environment("a", touched=old), environment("b", touched=now)
    in_use, stranger = environment("c", touched=old), tmp_path / "python" / "cache"
    stranger.mkdir()
    os.utime(stranger, (0, 0))
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, "PYTHONPATH": str(in_use)},
    )
    try:
        assert environments.drop_unused(tmp_path, now=now) == [unused.name]
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not unused.exists()
    assert young.exists()
    assert stranger.exists()
    assert drafts(tmp_path) == []
    assert environments.drop_unused(tmp_path, now=now) == [in_use.name]


def test_an_environment_that_is_asked_for_again_is_not_old(
    tmp_path: Path, requirements: Path
) -> None:
    folder = environments.code(tmp_path, ["oip"])
    os.utime(folder, (0, 0))
    assert environments.code(tmp_path, ["oip"]) == folder
    assert environments.drop_unused(tmp_path, now=datetime.now(UTC)) == []
    later = datetime.now(UTC) + timedelta(days=15)
    assert environments.drop_unused(tmp_path, now=later) == [folder.name]
    assert environments.code(tmp_path, ["oip"]).is_dir()
