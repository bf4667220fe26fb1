"""Pages of a list by cursor: stable while rows come and go, as fast at the end as at the start.

The order is the queryset's own, always ending in the id so that it is total. A cursor is the
signed position of the last row seen; it cannot be read, made up, or used with another order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.core import signing
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import OrderBy
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.kernel.errors import Invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
SALT = "modelyard.cursor"


@dataclass(frozen=True)
class Column:
    """One column of an order.

    Attributes:
        name: Field, annotation or path ("model__name").
        descending: Largest first.
        nulls_first: Whether rows without a value come first.
    """

    name: str
    descending: bool
    nulls_first: bool

    def reversed(self) -> "Column":
        """Return the column for reading the list from its end."""
        return Column(self.name, not self.descending, not self.nulls_first)

    def expression(self) -> OrderBy:
        """Return the column for `order_by`."""
        nulls = {"nulls_first": True} if self.nulls_first else {"nulls_last": True}
        # PostgreSQL's own default is spelled by leaving it out, so that indexes are used.
        if self.nulls_first == self.descending:
            nulls = {}
        return OrderBy(F(self.name), descending=self.descending, **nulls)

    def after(self, value: Any) -> Q:
        """Return what stands after `value` in this column alone."""
        if value is None:
            return Q(**{f"{self.name}__isnull": False}) if self.nulls_first else Q(pk__in=[])
        beyond = Q(**{f"{self.name}__{'lt' if self.descending else 'gt'}": value})
        return beyond if self.nulls_first else beyond | Q(**{f"{self.name}__isnull": True})

    def equal(self, value: Any) -> Q:
        """Return what has `value` in this column."""
        return Q(**{f"{self.name}__isnull": True}) if value is None else Q(**{self.name: value})


@dataclass(frozen=True)
class Slice:
    """One page of rows, and the cursors of its neighbours ("" where there is none)."""

    rows: list[Any]
    next: str
    previous: str


def limit_of(query: Mapping[str, str]) -> int:
    """Return the page size asked for.

    Raises:
        Invalid: It is not a number from 1 to 200.
    """
    given = query.get("limit") or str(DEFAULT_LIMIT)
    if not (given.isascii() and given.isdigit()) or not 1 <= int(given[:9]) <= MAX_LIMIT:
        raise Invalid(
            f"limit={given[:40]} is not a number from 1 to {MAX_LIMIT}.",
            field="limit",
            code="page.bad_limit",
        )
    return int(given)


def cut(queryset: QuerySet[Any], *, limit: int, cursor: str = "") -> Slice:
    """Return the page of `queryset` that `cursor` points to; the first one without a cursor.

    Raises:
        Invalid: The cursor is not one of ours, or belongs to another order.
    """
    columns = order_of(queryset)
    backwards, values = _decode(cursor, columns) if cursor else (False, None)
    reading = [c.reversed() for c in columns] if backwards else columns
    rows = queryset.order_by(*[c.expression() for c in reading])
    if values is not None:
        rows = rows.filter(_beyond(reading, values))
    found = list(rows[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found.reverse()
    has_next = bool(cursor) if backwards else more
    has_previous = more if backwards else bool(cursor)
    return Slice(
        found,
        next=_encode(columns, found[-1], backwards=False) if has_next and found else "",
        previous=_encode(columns, found[0], backwards=True) if has_previous and found else "",
    )


def cursor_after(columns: Sequence[Column], row: Any) -> str:
    """Return the cursor of the page that follows `row`, which has a value for every column."""
    return _encode(columns, row, backwards=False)


def order_of(queryset: QuerySet[Any]) -> list[Column]:
    """Return the order of `queryset`, ending in the id; newest first where it has none."""
    columns = [_column(term) for term in queryset.query.order_by]
    if not columns:
        return [Column("id", True, True)]
    if columns[-1].name not in ("id", "pk"):
        last = columns[-1].descending
        columns.append(Column("id", last, last))
    return columns


def _column(term: Any) -> Column:
    if isinstance(term, str):
        descending = term.startswith("-")
        return Column(term.lstrip("-"), descending, descending)
    if isinstance(term, F):
        return Column(_name(term), False, False)
    if isinstance(term, OrderBy) and isinstance(term.expression, F):
        first = bool(term.nulls_first) or (term.descending and not term.nulls_last)
        return Column(_name(term.expression), term.descending, first)
    raise TypeError(f"A page cannot be cut along {term!r}: annotate it and order by its name.")


def _name(term: F) -> str:
    return str(term.deconstruct()[1][0])


def _beyond(columns: Sequence[Column], values: Sequence[Any]) -> Q:
    """Return what stands after `values` in the whole order, lexicographically."""
    found, so_far = Q(pk__in=[]), Q()
    for column, value in zip(columns, values, strict=True):
        found |= so_far & column.after(value)
        so_far &= column.equal(value)
    first, bound = columns[0], values[0]
    if len(columns) > 1 and bound is not None and first.nulls_first:
        # Implied by the rest, but only this form lets an index on the first column begin here.
        found &= Q(**{f"{first.name}__{'lte' if first.descending else 'gte'}": bound})
    return found


def _encode(columns: Sequence[Column], row: Any, *, backwards: bool) -> str:
    values = [_pack(_value(row, column.name)) for column in columns]
    return signing.dumps([_signature(columns), backwards, values], salt=SALT)


def _decode(cursor: str, columns: Sequence[Column]) -> tuple[bool, list[Any]]:
    try:
        signature, backwards, values = signing.loads(cursor, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise _bad_cursor() from error
    if signature != _signature(columns):
        raise _bad_cursor()
    return bool(backwards), [_unpack(value) for value in values]


def _bad_cursor() -> Invalid:
    return Invalid(
        "The cursor does not belong to this list.",
        remedy="Begin again without `cursor`, and follow the `next` of each answer.",
        field="cursor",
        code="page.bad_cursor",
    )


def _signature(columns: Sequence[Column]) -> str:
    return ",".join(f"{'-' if c.descending else ''}{c.name}" for c in columns)


def _value(row: Any, path: str) -> Any:
    for name in path.split("__"):
        row = getattr(row, name) if row is not None else None
    return row


def _pack(value: Any) -> Any:
    return {"at": value.isoformat()} if isinstance(value, datetime) else value


def _unpack(value: Any) -> Any:
    return datetime.fromisoformat(value["at"]) if isinstance(value, dict) else value


class NewestFirst(BasePagination):
    """REST framework's face of `cut`."""

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        """Return the rows of the page that the request asks for."""
        self.request = request
        self.slice = cut(
            queryset,
            limit=limit_of(request.query_params),
            cursor=request.query_params.get("cursor", ""),
        )
        return self.slice.rows

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page with the addresses of its neighbours."""
        return Response(self.body(data))

    def body(self, data: Any) -> dict[str, Any]:
        """Return the page as an object."""
        return {
            "next": self._address(self.slice.next),
            "previous": self._address(self.slice.previous),
            "results": data,
        }

    def _address(self, cursor: str) -> str | None:
        if not cursor:
            return None
        kept = [(n, v) for n, vs in self.request.query_params.lists() for v in vs if n != "cursor"]
        path = self.request.build_absolute_uri(self.request.path)
        return f"{path}?{urlencode([*kept, ('cursor', cursor)])}"

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a page of `schema`."""
        address = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": address, "previous": address, "results": schema},
        }
