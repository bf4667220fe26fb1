"""What every test may use: a real PostgreSQL, started on first use and shared by all workers."""

import fcntl
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from controlplane.drivers.local import postgres as server
from controlplane.project.settings.test import TEST_HOME
from tests import database, mlflow_server

pytest_plugins = ["tests.plugins.flush", "tests.plugins.ledger"]
KEEPER = Path(__file__).with_name("keeper.py")


def pytest_collection_finish() -> None:
    """Spare the collector what lives as long as the process: modules, tests, models."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the folder of the socket of a running server."""
    used = _hold("in-use.lock", fcntl.LOCK_SH)
    starting = _hold("starting.lock", fcntl.LOCK_EX)
    try:
        if not server.accepts(TEST_HOME):
            _start()
    finally:
        os.close(starting)
    yield str(server.socket_folder(TEST_HOME))
    os.close(used)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    postgres: str,
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """Have pytest-django make its database on our server, as a copy of one that is migrated."""
    making = _hold("template.lock", fcntl.LOCK_EX)
    try:
        with django_db_blocker.unblock():
            connection.settings_dict["TEST"]["TEMPLATE"] = database.template()
    finally:
        os.close(making)


def _hold(name: str, how: int) -> int:
    folder = TEST_HOME / "run"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, how)
    return descriptor


def _start() -> None:
    log = TEST_HOME / "run" / "postgres-test.log"
    with log.open("ab") as output:
        subprocess.run(  # the shell leaves it behind: it outlives this process on purpose
            ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, str(KEEPER), str(TEST_HOME)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=True,
        )
    if not server.wait_until_accepting(TEST_HOME, seconds=30):
        pytest.exit(f"PostgreSQL did not start; see {log}", returncode=3)


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a real MLflow server, started on first use (about 20 s)."""
    with mlflow_server.serving(tmp_path_factory.mktemp("mlflow")) as url:
        yield url
