"""Emptying the database after tests that really commit, past the ledger's own triggers.

The ledger refuses TRUNCATE, and the first environments come from a migration: without this,
the first test with a real commit would fail to clean up, and the next one would find no `dev`.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db.backends.postgresql.operations import DatabaseOperations

SEEDS = (
    "apps.environments.migrations.0002_seed_dev_staging_production",
    "apps.environments.migrations.0004_champion_follows_production",
    "apps.gates.migrations.0002_seed_policies",
    "apps.rollouts.migrations.0003_seed_templates",
)


@pytest.fixture(scope="session", autouse=True)
def flush_keeps_what_migrations_made() -> Iterator[None]:
    """Have Django's flush step over the ledger's triggers and sow the environments again."""
    original = DatabaseOperations.execute_sql_flush

    def flush(self: Any, statements: Iterable[str]) -> None:
        tables = [model._meta.db_table for model in apps.get_app_config("audit").get_models()]
        original(
            self,
            [
                *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in tables),
                *statements,
                *(f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in tables),
            ],
        )
        for seed in SEEDS:
            import_module(seed).seed(apps, None)

    DatabaseOperations.execute_sql_flush = flush  # type: ignore[method-assign, assignment]
    yield
    DatabaseOperations.execute_sql_flush = original  # type: ignore[method-assign]
