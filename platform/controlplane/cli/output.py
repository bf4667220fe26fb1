"""What the command line prints: a table for a person, JSON for a program."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

WIDE = 240  # characters, where no terminal says how many there are

console = Console(width=None if sys.stdout.isatty() else WIDE)
notes = Console(stderr=True, soft_wrap=True)


def show(data: Any, *, as_json: bool, columns: Mapping[str, str] | None = None) -> None:
    """Print `data`.

    Args:
        data: One object, or a list of them.
        as_json: Print JSON, one document, and nothing else.
        columns: For people: the keys to show, each with its heading.
    """
    if as_json:
        json.dump(data, sys.stdout, indent=2, default=str)
        sys.stdout.write("\n")
        return
    rows = data if isinstance(data, list) else [data]
    console.print(_table(rows, columns or {key: key for key in (rows[0] if rows else {})}))


def _table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row.get(key)) for key in columns])
    return table


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    return str(value)


def note(text: str) -> None:
    """Tell a person something, on standard error, so that standard output stays data."""
    notes.print(text, highlight=False)
