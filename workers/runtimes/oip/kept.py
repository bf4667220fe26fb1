"""Answers that are kept for a while, so that two servers' answers to one request can be compared.

The proxy marks a request that it also copies to a candidate; only what is marked is kept. It is
kept in this process's memory alone, within bounds, oldest first out, and never the request itself:
of its body there is a digest. Reading takes nothing away, so a reader that dies can read again.
"""

import hashlib
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from workers.runtimes.oip import protocol
from workers.runtimes.oip.batching import Arrays
from workers.runtimes.oip.protocol import Array

MARK = (b"x-modelyard-capture", b"1")
REQUEST_ID = b"x-request-id"

ENTRIES = 4096
OCTETS = 64 * 1024**2
ELEMENTS = 1000  # of one answer's outputs together; of larger ones a sample and a digest is kept
PAGE = 200  # answers that one reading gives at most
PAGE_OCTETS = 1024**2  # and about their size: reading must not hold up those who ask

_LONG = 200  # characters of a text, or of a caller's own request id
_OVERHEAD = 48  # bytes of a kept answer beside its JSON


@dataclass(slots=True)
class Note:
    """What is learnt of one marked request while it is answered.

    Attributes:
        request_id: As it came.
        body: The digest of its body; "" while that is not read.
        outputs: What was answered; empty when it was not.
    """

    request_id: str
    body: str = ""
    outputs: Arrays = field(default_factory=dict)


class Kept:
    """The newest answers to marked requests. Used from the event loop only.

    Each is kept as the JSON that it will be read as: the work is done once, its size is known,
    and a full ring of them is nothing that Python's garbage collector has to walk through.

    Attributes:
        run: Names this process's numbering: another process begins again at 1.
        last: The number of the newest answer; 0 before the first.
    """

    def __init__(self, run: str, *, entries: int = ENTRIES, octets: int = OCTETS) -> None:
        """Keep at most so many answers of together so many bytes."""
        self.run, self.last = run, 0
        self._lines: deque[bytes] = deque()
        self._most, self._room = entries, octets

    def add(self, note: Note, *, status: int, seconds: float, at: float) -> None:
        """Keep an answer.

        Args:
            note: What was learnt while it was made.
            status: HTTP.
            seconds: How long it took.
            at: When it was given, in seconds since 1970.
        """
        line = orjson.dumps(
            {
                "sequence": self.last + 1,
                "at": at,
                "request_id": note.request_id,
                "body": note.body,
                "status": status,
                "error": status >= 500,
                "milliseconds": round(1000 * seconds, 4),
                "outputs": _documents(note.outputs),
            }
        )
        self.last += 1
        self._lines.append(line)
        self._room -= len(line) + _OVERHEAD
        while len(self._lines) > self._most or self._room < 0:
            self._room += len(self._lines.popleft()) + _OVERHEAD

    def page(self, *, after: int, limit: int = PAGE) -> bytes:
        """Return what was kept since answer number `after`, oldest first, as JSON.

        `next` is what to ask for next; when it equals `last`, everything was read. `lost` counts
        what came after `after` and is kept no more.
        """
        fallen = self.last - len(self._lines)
        start = min(max(after, fallen), self.last)
        found: list[bytes] = []
        octets = 0
        for line in islice(self._lines, start - fallen, None):
            octets += len(line)
            if len(found) == min(limit, PAGE) or (found and octets > PAGE_OCTETS):
                break
            found.append(line)
        head = {
            "run": self.run,
            "next": start + len(found),
            "last": self.last,
            "lost": max(0, fallen - after),
        }
        return b'%s,"answers":[%s]}' % (orjson.dumps(head)[:-1], b",".join(found))


def note(headers: list[tuple[bytes, bytes]]) -> Note:
    """Return a note about the request with these headers."""
    return Note(dict(headers).get(REQUEST_ID, b"")[:_LONG].decode("latin-1"))


def digest(content: bytes) -> str:
    """Return enough of a SHA-256 to tell bodies apart."""
    return hashlib.sha256(content).hexdigest()[:16]


def _documents(outputs: Arrays) -> list[dict[str, Any]]:
    """Return outputs for JSON: small ones whole, of larger ones an even share of `ELEMENTS`."""
    if sum(array.size for array in outputs.values()) <= ELEMENTS:
        return [_document(name, array) for name, array in outputs.items()]
    left, found = ELEMENTS, {}
    by_size = sorted(outputs.items(), key=lambda output: output[1].size)
    for place, (name, array) in enumerate(by_size):
        room = left // (len(by_size) - place)
        fits = array.size <= room
        found[name] = _document(name, array) if fits else _sample(name, array, room)
        left -= min(array.size, room)
    return [found[name] for name in outputs]


def _document(name: str, array: Array) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": protocol.datatype_of(array),
        "shape": array.shape,
        "data": _values(array.ravel()),
    }


def _sample(name: str, array: Array, room: int) -> dict[str, Any]:
    """Return every `step`th element, and a digest of all."""
    flat = array.ravel()
    step = -(-flat.size // room) if room else 0
    return _document(name, array[:0]) | {
        "shape": array.shape,
        "data": _values(flat[::step] if step else flat[:0]),
        "step": step,
        "digest": digest(protocol.to_bytes(array)),
    }


def _values(flat: Array) -> list[Any]:
    values: list[Any] = flat.tolist()
    if protocol.datatype_of(flat) == "BYTES":
        return [_text(value) for value in values]
    if flat.dtype.kind == "f" and not all(map(math.isfinite, values)):
        return [value if math.isfinite(value) else protocol.spell(value) for value in values]
    return values


def _text(value: object) -> str:
    """Return a text as it is, and of a long one its beginning and a digest that tells it."""
    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")
    text = content.decode("utf-8", "backslashreplace")
    return text if len(text) <= _LONG else f"{text[:_LONG]}… {digest(content)}"
