"""What one line of an export says, whatever somebody has put into it."""

import json
from collections.abc import Mapping
from typing import Any

from apps.audit.domain import chain


def parsed(line: bytes) -> dict[str, Any]:
    """Return the object that a line is; an empty one when it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def inner(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object that stands in a line under `name`; an empty one when none does."""
    found = row.get(name)
    return found if isinstance(found, dict) else {}


def link_of(row: Mapping[str, Any]) -> chain.Link | None:
    """Return where an event says that it stands; None when it does not say."""
    position, previous, digest = row.get("position"), row.get("previous"), row.get("hash")
    if not isinstance(position, int) or isinstance(position, bool) or position < 1:
        return None
    if not is_hash(previous) or not is_hash(digest):
        return None
    return chain.Link(position, str(previous), str(digest))


def is_hash(value: Any) -> bool:
    """Return whether `value` has the form of a hash."""
    return isinstance(value, str) and len(value) == chain.DIGITS[chain.HASH]


def holds(line: bytes) -> bool:
    """Return whether a line's hash is its own."""
    cut = chain.cut(line, chain.HASH)
    return cut is not None and chain.digest_of(cut[0]) == cut[1]
