"""The suite's database: a copy of a template that is migrated once, and emptied in milliseconds.

Migrating takes half a minute of every test process, copying takes none of it. And Django would
TRUNCATE every table after a test that really commits: it takes a second for a hundred of them, the
ledger refuses it, and what the migrations sowed would go with it. So a copy of what they sowed is
kept in a schema of its own, and every table is emptied by DELETE and filled from it again.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from django.core.management import call_command
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

Made = TypeVar("Made")
ROOT = Path(__file__).parents[1]
PREFIX = "template_"
KEEP = """
DO $$
DECLARE
    name text;
    has_rows boolean;
BEGIN
    CREATE SCHEMA sown;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('CREATE TABLE sown.%I AS TABLE public.%I', name, name);
        END IF;
    END LOOP;
END $$
"""
EMPTY = """
DO $$
DECLARE
    name text;
BEGIN
    SET LOCAL session_replication_role = replica;  -- triggers and foreign keys look away
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DELETE FROM public.%I', name);
    END LOOP;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'sown' LOOP
        EXECUTE format('INSERT INTO public.%I TABLE sown.%I', name, name);
    END LOOP;
    UPDATE pg_class SET reltuples = -1  -- "not known" plans well, "none" does not: see `analyse`
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND reltuples = 0;
END $$
"""


def template() -> str:
    """Return the name of the template, which is made unless it is there.

    It says what it was made of, so that a change of the product's code makes another. Whoever
    calls holds a lock: two that make it would be in each other's way.
    """
    name = PREFIX + _made_of()
    old = _existing()
    if name not in old:
        _make(name)
        for other in old:
            _ask(f'DROP DATABASE "{other}"')
    return name


def empty() -> None:
    """Leave in the database what migrations made, and nothing else."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(EMPTY)


def analyse() -> None:
    """Have PostgreSQL count what was just written, as it does by itself in a real database.

    Between tests it may have found a table empty. Then it plans for no rows, joins a dozen tables
    row by row, and a page with fifty of everything takes minutes.
    """
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@contextmanager
def shared(blocker: DjangoDbBlocker, make: Callable[[], Made]) -> Iterator[Made]:
    """Make rows for all tests of a module that commit nothing: each takes back only its own.

    For fixtures of the scope `module` that also ask for `django_db_setup`.
    """
    with blocker.unblock():
        around = transaction.atomic()
        around._from_testcase = True  # type: ignore[attr-defined]  # a durable block may be inside
        around.__enter__()
        made = make()
    try:
        yield made
    finally:
        with blocker.unblock():
            transaction.set_rollback(True)
            around.__exit__(None, None, None)


def _made_of() -> str:
    """Return a digest of all that a migration could read: the product's code, and the packages."""
    digest = hashlib.sha256()
    code = [
        path
        for folder in ("apps", "platform")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sql")
    ]
    for path in [*sorted(code), ROOT / "requirements.lock", Path(__file__)]:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _existing() -> list[str]:
    rows = _ask("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", PREFIX)
    return [name for (name,) in rows]


def _make(name: str) -> None:
    """Migrate a database under another name, so that a death half-way leaves no template."""
    making = "making_template"
    _ask(f'DROP DATABASE IF EXISTS "{making}"')
    _ask(f'CREATE DATABASE "{making}"')
    settings = connection.settings_dict
    usual, settings["NAME"] = settings["NAME"], making
    try:
        call_command("migrate", verbosity=0, interactive=False)
        _keep_what_migrations_made()
    finally:
        connection.close()
        settings["NAME"] = usual
    _ask(f'ALTER DATABASE "{making}" RENAME TO "{name}"')


def _keep_what_migrations_made() -> None:
    """Copy what stands in the tables of a database that was just migrated."""
    with connection.cursor() as cursor:
        cursor.execute(KEEP)


def _ask(sql: str, *values: str) -> list[tuple[str]]:
    with connection._nodb_cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(sql, values or None)
        return list(cursor.fetchall()) if cursor.description else []
