"""The ledger as lines: JSON Lines that can be verified anywhere, and CSV for a spreadsheet.

An export begins with a signed line that says what it is and ends with one that holds the digest
of everything before it, so that a file that was cut off is found. What an event's line says comes
from the event, its hash from the seal: an event that was changed in the database shows.
"""

import csv
import io
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db.models import QuerySet

from apps.audit import sealing
from apps.audit.domain import chain
from apps.audit.domain.signing import Signer
from apps.audit.models import AuditEvent, Checkpoint, Seal
from apps.audit.selectors import MOST_WAITING, Search, event_values, events, unsealed

FORMAT = 1
CHUNK = 2_000  # events read at a time
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run
COLUMNS = (
    "position", "id", "at", "actor_kind", "actor_name", "verb", "target", "subject", "before",
    "after", "reason", "request_id", "hash",
)  # fmt: skip


@dataclass
class _Tally:
    """What the last line will say of the lines before it."""

    digest: Any = field(default_factory=sha256)
    count: int = 0
    first: int | None = None
    last: int | None = None

    def add(self, line: bytes, position: int | None = None, *, is_event: bool = False) -> bytes:
        """Count a line, and return it with its line feed."""
        whole = line + b"\n"
        self.digest.update(whole)
        if is_event:
            self.count += 1
        if position is not None:
            self.first, self.last = self.first or position, position
        return whole


def whole(
    *, signer: Signer, at: datetime, first: int = 1, last: int | None = None
) -> Iterator[bytes]:
    """Yield the lines of the chain from `first` to `last`, with every checkpoint on the way.

    Before the first event stands the checkpoint that it follows, where there is one.
    """
    end = sealing.head().position if last is None else last
    seals = Seal.objects.filter(position__gte=first, position__lte=end).order_by("position")
    begin = seals.values_list("position", flat=True).first()
    yield from _framed(signer, at, None, begin, lambda tally: _chain(tally, first, end))


def selection(*, signer: Signer, at: datetime, search: Search) -> Iterator[bytes]:
    """Yield the lines of what `search` finds, oldest first; what is not sealed yet comes last."""
    yield from _framed(signer, at, search.words(), None, lambda tally: _selected(tally, search))


def table(*, search: Search) -> Iterator[bytes]:
    """Yield what `search` finds as rows of CSV (RFC 4180), oldest first, after a row of names."""
    yield _row(COLUMNS)
    for event, seal in _found(search):
        values = {**event_values(event), "position": "", "hash": ""}
        if seal is not None:
            values |= {"position": seal.position, "hash": seal.hash}
        yield _row([_cell(values[name]) for name in COLUMNS])


def _framed(
    signer: Signer,
    at: datetime,
    selected: dict[str, str] | None,
    first: int | None,
    body: Callable[[_Tally], Iterator[bytes]],
) -> Iterator[bytes]:
    tally, name = _Tally(), secrets.token_hex(8)
    head = {
        "at": chain.moment(at),
        "first": first,
        "format": FORMAT,
        "id": name,
        "selection": selected,
    }
    yield tally.add(signer.line("export", head))
    yield from body(tally)
    end = {
        "count": tally.count,
        "digest": tally.digest.hexdigest(),
        "first": tally.first,
        "id": name,
        "last": tally.last,
    }
    yield signer.line("end", end) + b"\n"


def _chain(tally: _Tally, first: int, last: int) -> Iterator[bytes]:
    seals = Seal.objects.filter(position__gte=first, position__lte=last)
    begin, after = True, first - 1
    while chunk := list(_chunk(seals, after)):
        before, after = after, chunk[-1].position
        signed = _signed(chunk[0].position - 1 if begin else before + 1, after)
        if begin and chunk[0].position - 1 in signed:
            yield tally.add(signed[chunk[0].position - 1])
        for seal in chunk:
            yield tally.add(_line(seal.event, seal), seal.position, is_event=True)
            if seal.position in signed:
                yield tally.add(signed[seal.position])
        begin = False


def _chunk(seals: QuerySet[Seal], after: int) -> QuerySet[Seal]:
    following = seals.filter(position__gt=after).select_related("event")
    return following.order_by("position")[:CHUNK]


def _signed(first: int, last: int) -> dict[int, bytes]:
    found = Checkpoint.objects.filter(position__gte=first, position__lte=last)
    return {position: line.encode() for position, line in found.values_list("position", "line")}


def _selected(tally: _Tally, search: Search) -> Iterator[bytes]:
    for event, seal in _found(search):
        yield tally.add(_line(event, seal), seal.position if seal else None, is_event=True)


def _found(search: Search) -> Iterator[tuple[AuditEvent, Seal | None]]:
    """Yield what is sealed by its position, then what is not by its id."""
    late = unsealed(limit=MOST_WAITING)
    waiting = list(events(search).filter(pk__in=late).order_by("id"))
    end = sealing.head().position
    found, after = events(search).select_related("seal"), 0
    while True:
        sealed = found.filter(seal__position__gt=after, seal__position__lte=end)
        chunk = list(sealed.order_by("seal__position")[:CHUNK])
        if not chunk:
            break
        yield from ((event, event.seal) for event in chunk)
        after = chunk[-1].seal.position
    newly = {e.pk for e in found.filter(pk__in=[e.pk for e in waiting], seal__position__lte=end)}
    yield from ((event, None) for event in waiting if event.pk not in newly)


def _line(event: AuditEvent, seal: Seal | None) -> bytes:
    if seal is None:
        return chain.event_line(event_values(event), None, None)
    body = chain.event_body(event_values(event), seal.position, seal.previous)
    return chain.close(body, chain.HASH, seal.hash)


def _row(cells: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Return a value as text that no spreadsheet takes for a formula."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    if isinstance(text, str) and text.startswith(FORMULA):
        return "'" + text
    return text
