"""Entity tags: cheap re-reading (If-None-Match) and no lost updates (If-Match).

A tag has two parts, `"<row>.<body>"`. The row's part changes with the row and guards writes; the
body's part changes with anything shown, so that a page never keeps what a related row changed.
"""

import hashlib
import re
from typing import Any, Protocol

import orjson
from django.core.serializers.json import DjangoJSONEncoder

from controlplane.kernel.errors import Conflict

TAG = re.compile(r'(?:W/)?"([^"]*)"')


class Stamped(Protocol):
    """A row that knows when it changed."""

    pk: Any
    changed_at: Any


class Stale(Conflict):
    """The object changed since the client read it."""

    code = "request.stale"


def tag_of(row: Stamped, data: Any) -> str:
    """Return the entity tag of `data`, which shows `row`."""
    body = orjson.dumps(data, default=DjangoJSONEncoder().default, option=orjson.OPT_NON_STR_KEYS)
    return f'"{_row_part(row)}.{hashlib.sha256(body).hexdigest()[:16]}"'


def unchanged(header: str, tag: str) -> bool:
    """Return whether an If-None-Match `header` names `tag`."""
    return header.strip() == "*" or tag.strip('"') in TAG.findall(header)


def match(header: str | None, row: Stamped) -> None:
    """Refuse unless an If-Match `header` names the row as it is; without a header, accept.

    Raises:
        Stale: The row changed since.
    """
    if header is None or header.strip() == "*":
        return
    given = {tag.partition(".")[0] for tag in TAG.findall(header)}
    if _row_part(row) not in given:
        raise Stale(
            "It changed since you read it.",
            remedy="Read it again, and repeat your change on what it is now.",
        )


def _row_part(row: Stamped) -> str:
    return hashlib.sha256(f"{row.pk}:{row.changed_at.isoformat()}".encode()).hexdigest()[:16]
