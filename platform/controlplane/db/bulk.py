"""Writing many rows of one table by one statement.

Django's own `bulk_create` and `bulk_update` make an object and a placeholder of every value; what
is written for a thousand rollouts every few seconds goes in as one JSON document instead, which
PostgreSQL reads as a table.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, models

Model = type[models.Model]

# Braces take nothing but names and types of our own tables and columns.
INSERT = (
    "INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_to_recordset(%s) AS new ({types})"
)
UPSERT = INSERT + " ON CONFLICT ({key}) DO UPDATE SET {changes}"
UPDATE = (
    "UPDATE {table} old SET {changes} FROM jsonb_to_recordset(%s) AS new ({types}) "
    "WHERE old.{key} = new.{key}"
)


def insert(model: Model, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows.

    Args:
        model: Of the table; its defaults do not count.
        columns: Names of fields, all that a new row needs; a foreign key by its attribute.
        rows: Values in the order of `columns`.
    """
    _execute(INSERT, model, columns, rows)


def upsert(
    model: Model, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, unique: Sequence[str]
) -> None:
    """Insert rows, or where one with the same `unique` is there, write the other columns over it.

    Args:
        model: Of the table; its defaults do not count.
        columns: Names of fields, all that a new row needs; a foreign key by its attribute.
        rows: Values in the order of `columns`; no two with the same `unique`.
        unique: The columns of a unique constraint.
    """
    written = [_name(model, column) for column in columns if column not in unique]
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in written)
    key = ", ".join(_name(model, column) for column in unique)
    _execute(UPSERT, model, columns, rows, key=key, changes=changes)


def update(model: Model, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write columns of rows that are there, each by its key.

    Args:
        model: Of the table.
        columns: Names of fields, the key's first; a foreign key by its attribute.
        rows: Values in the order of `columns`; no two with the same key.
    """
    key, *written = (_name(model, column) for column in columns)
    changes = ", ".join(f"{name} = new.{name}" for name in written)
    _execute(UPDATE, model, columns, rows, key=key, changes=changes)


def _execute(
    statement: str,
    model: Model,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    **parts: str,
) -> None:
    """Run a statement with the rows; nothing is asked of no rows."""
    fields = [_field(model, column) for column in columns]
    columns = [str(field.column) for field in fields]
    listed = [dict(zip(columns, row, strict=True)) for row in rows]
    if not listed:
        return
    table, *names = map(connection.ops.quote_name, (model._meta.db_table, *columns))
    types = ", ".join(
        f"{name} {field.db_type(connection)}" for name, field in zip(names, fields, strict=True)
    )
    asked = statement.format(table=table, names=", ".join(names), types=types, **parts)
    with connection.cursor() as cursor:
        cursor.execute(asked, [json.dumps(listed, default=str)])


def _field(model: Model, attribute: str) -> "models.Field[Any, Any]":
    return next(field for field in model._meta.concrete_fields if field.attname == attribute)


def _name(model: Model, attribute: str) -> str:
    return connection.ops.quote_name(str(_field(model, attribute).column))
