"""Writing many rows of one table at once, new or not.

`bulk_create(update_conflicts=True)` makes an object and a placeholder of every value; what is
written for every endpoint every two seconds goes in as one array per column instead.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, models


def upsert(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    unique: Sequence[str],
) -> None:
    """Insert rows, or where one with the same `unique` is there, write the other columns over it.

    Args:
        model: Of the table; its defaults do not count.
        columns: Names of fields, all that a new row needs; a foreign key by its attribute.
        rows: Values in the order of `columns`; no two with the same `unique`.
        unique: The columns of a unique constraint.
    """
    listed = list(zip(*rows, strict=True))
    if not listed:
        return
    fields = [_field(model, name) for name in columns]
    names = [connection.ops.quote_name(str(field.column)) for field in fields]
    arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in fields)
    keys = ", ".join(connection.ops.quote_name(str(_field(model, n).column)) for n in unique)
    written = [
        name for name, field in zip(names, fields, strict=True) if field.attname not in unique
    ]
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in written)
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({arrays}) "  # noqa: S608  names of our own columns
            f"ON CONFLICT ({keys}) DO UPDATE SET {changes}",
            [_array(field, values) for field, values in zip(fields, listed, strict=True)],
        )


def _field(model: type[models.Model], attribute: str) -> "models.Field[Any, Any]":
    return next(field for field in model._meta.concrete_fields if field.attname == attribute)


def _array(field: "models.Field[Any, Any]", values: Sequence[Any]) -> list[Any]:
    if isinstance(field, models.JSONField):
        return [json.dumps(value) for value in values]
    return list(values)
