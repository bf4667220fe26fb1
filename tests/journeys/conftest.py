"""Journeys run against the whole embedded stack, started once for all of them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.cli.client import Client
from controlplane.cli.stack import Stack, running


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another user when we are root
        with running(home, seconds=180) as started:
            yield started


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    opened = Client(stack.web, stack.token("journeys"), patience=60)
    yield opened
    opened.close()
