"""Our own launcher of PostgreSQL, with the real server."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from controlplane.drivers.local import places, postgres

Launch = Callable[[Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path that `nobody` may enter; pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def launch() -> Iterator[Launch]:
    started: list[subprocess.Popen[bytes]] = []

    def _launch(home: Path) -> subprocess.Popen[bytes]:
        module = "controlplane.drivers.local.postgres"
        with (home / "postgres.log").open("ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", module, "--home", str(home)], stdout=log, stderr=log
            )
        started.append(server)
        if not postgres.wait_until_accepting(home, seconds=60):
            pytest.fail((home / "postgres.log").read_text())
        return server

    yield _launch
    for server in started:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def test_what_was_committed_survives_kill_9(home: Path, launch: Launch) -> None:
    first = launch(home)
    postgres.ensure_database(home, "rows")
    with psycopg.connect(postgres.database_url(home, "rows")) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT generate_series(1, 1000) AS n")
    first.kill()
    first.wait()
    launch(home)
    with psycopg.connect(postgres.database_url(home, "rows")) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (1000,)


def test_the_server_is_a_direct_child_and_never_root(home: Path, launch: Launch) -> None:
    server = psutil.Process(launch(home).pid)
    assert server.name() == "postgres"
    assert server.uids().real != 0
    assert server.net_connections("tcp") == []


def test_a_second_server_on_the_same_folder_is_refused(home: Path, launch: Launch) -> None:
    first = launch(home)
    second = subprocess.run(
        [sys.executable, "-m", "controlplane.drivers.local.postgres", "--home", str(home)],
        capture_output=True,
        text=True,
    )
    assert second.returncode == 1
    assert f"already runs on {home}/postgres/data as process {first.pid}" in second.stderr
    assert first.poll() is None


def test_only_our_own_account_may_connect(home: Path, launch: Launch) -> None:
    launch(home)
    with (
        pytest.raises(psycopg.OperationalError, match=r"[Pp]eer authentication failed"),
        psycopg.connect(f"{postgres.database_url(home)}", user="somebody"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop its rights")
def test_under_a_closed_folder_the_data_goes_where_nobody_can_enter(launch: Launch) -> None:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as closed:  # mode 700
        home = Path(closed) / "home"
        home.mkdir()
        server = launch(home)
        data = (home / "postgres" / "data").resolve()
        try:
            assert not data.is_relative_to(closed)
            assert Path(closed).stat().st_mode & 0o777 == 0o700
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
            subprocess.run(["rm", "-rf", data.parent], check=True)


def test_a_home_with_a_long_path_still_has_a_socket(home: Path, launch: Launch) -> None:
    deep = home / ("long-" * 20)
    deep.mkdir()
    launch(deep)
    link = places.short(deep)
    assert len(str(postgres.socket_folder(deep))) < 80
    assert (postgres.socket_folder(deep) / ".s.PGSQL.5432").is_socket()
    link.unlink()
