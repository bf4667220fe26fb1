"""Emptying the database after tests that really commit, as `tests/database.py` does it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import TransactionTestCase

from tests import database


@pytest.fixture(scope="session", autouse=True)
def flush_keeps_what_migrations_made() -> Iterator[None]:
    """Have Django leave what the migrations made, and nothing else."""
    original = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def teardown(self: Any) -> None:
        database.empty()

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[attr-defined]
    yield
    TransactionTestCase._fixture_teardown = original  # type: ignore[attr-defined]
