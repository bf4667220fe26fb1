"""Answers that are kept for a while, so that two servers' answers to one request can be compared.

The proxy marks a request that it also copies to a candidate; only what is marked is kept. It is
kept in this process's memory alone, within bounds, oldest first out, and never the request itself:
of its body there is a digest. Reading takes nothing away, so a reader that dies can read again.
"""

import hashlib
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from workers.runtimes.oip import protocol
from workers.runtimes.oip.batching import Arrays
from workers.runtimes.oip.protocol import Array

MARK = (b"x-modelyard-capture", b"1")
REQUEST_ID = b"x-request-id"

ENTRIES = 4096
OCTETS = 64 * 1024**2
ELEMENTS = 1000  # of one answer's outputs together; of larger ones a sample and a digest is kept
PAGE = 200  # answers that one reading gives at most
PAGE_OCTETS = 1024**2  # and about their size: they are written where requests are answered

_LONG = 200  # characters of a text, or of a caller's own request id
_OVERHEAD = 600  # bytes of one entry beside its data, roughly
_OVERHEAD_OF_ARRAY = 200


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


@dataclass(slots=True)
class _Sample:
    """Some elements of an output that is too large to be kept.

    Attributes:
        data: Flat: every `step`th element; none where `step` is 0.
        digest: Of all elements.
    """

    datatype: str
    shape: tuple[int, ...]
    data: Array
    step: int
    digest: str


@dataclass(slots=True)
class _Entry:
    sequence: int
    at: float
    request_id: str
    body: str
    status: int
    milliseconds: float
    outputs: Mapping[str, Array | _Sample]
    octets: int

    def document(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "at": self.at,
            "request_id": self.request_id,
            "body": self.body,
            "status": self.status,
            "error": self.status >= 500,
            "milliseconds": self.milliseconds,
            "outputs": [_document(name, output) for name, output in self.outputs.items()],
        }


class Kept:
    """The newest answers to marked requests. Used from the event loop only.

    Attributes:
        run: Names this process's numbering: another process begins again at 1.
        last: The number of the newest answer; 0 before the first.
    """

    def __init__(self, run: str, *, entries: int = ENTRIES, octets: int = OCTETS) -> None:
        """Keep at most so many answers of together so many bytes."""
        self.run, self.last = run, 0
        self._entries: deque[_Entry] = deque()
        self._most, self._room = entries, octets

    def add(self, note: Note, *, status: int, seconds: float, at: float) -> None:
        """Keep an answer.

        Args:
            note: What was learnt while it was made.
            status: HTTP.
            seconds: How long it took.
            at: When it was given, in seconds since 1970.
        """
        outputs = _within_bounds(note.outputs)
        self.last += 1
        entry = _Entry(
            sequence=self.last,
            at=at,
            request_id=note.request_id,
            body=note.body,
            status=status,
            milliseconds=round(1000 * seconds, 4),
            outputs=outputs,
            octets=_OVERHEAD + sum(map(_octets, outputs.values())),
        )
        self._entries.append(entry)
        self._room -= entry.octets
        while len(self._entries) > self._most or self._room < 0:
            self._room += self._entries.popleft().octets

    def page(self, *, after: int, limit: int = PAGE) -> dict[str, Any]:
        """Return what was kept since answer number `after`, oldest first, as JSON.

        `next` is what to ask for next; when it equals `last`, everything was read. `lost` counts
        what came after `after` and is kept no more.
        """
        first = self.last - len(self._entries) + 1
        begin = min(max(0, after + 1 - first), len(self._entries))
        found: list[_Entry] = []
        octets = 0
        for entry in islice(self._entries, begin, None):
            octets += entry.octets
            if len(found) == min(limit, PAGE) or (found and octets > PAGE_OCTETS):
                break
            found.append(entry)
        return {
            "run": self.run,
            "next": found[-1].sequence if found else max(after, first - 1),
            "last": self.last,
            "lost": max(0, first - 1 - after),
            "answers": [entry.document() for entry in found],
        }


def note(headers: list[tuple[bytes, bytes]]) -> Note:
    """Return a note about the request with these headers."""
    found = next((value for name, value in headers if name == REQUEST_ID), b"")
    return Note(found[:_LONG].decode("latin-1"))


def digest(content: bytes) -> str:
    """Return enough of a SHA-256 to tell bodies apart."""
    return hashlib.sha256(content).hexdigest()[:16]


def _within_bounds(outputs: Arrays) -> Mapping[str, Array | _Sample]:
    """Return copies of outputs, small ones whole, of larger ones an even share of `ELEMENTS`.

    Copies, always: a slice would hold the whole batch, and a model may use its buffers again.
    """
    if sum(array.size for array in outputs.values()) <= ELEMENTS:
        return {name: _copy(array) for name, array in outputs.items()}
    left, found = ELEMENTS, {}
    by_size = sorted(outputs.items(), key=lambda output: output[1].size)
    for place, (name, array) in enumerate(by_size):
        room = left // (len(by_size) - place)
        fits = array.size <= room
        found[name] = _copy(array) if fits else _sample(array, room)
        left -= min(array.size, room)
    return {name: found[name] for name in outputs}


def _copy(array: Array) -> Array:
    if array.dtype.kind in "biuf":
        return array.copy()
    made = np.empty(array.size, dtype=np.object_)
    made[:] = [_text(value) for value in array.ravel().tolist()]
    return made.reshape(array.shape)


def _sample(array: Array, room: int) -> _Sample:
    flat = array.ravel()
    step = -(-flat.size // room) if room else 0
    return _Sample(
        datatype=protocol.datatype_of(array),
        shape=array.shape,
        data=_copy(flat[::step] if step else flat[:0]),
        step=step,
        digest=digest(protocol.to_bytes(array)),
    )


def _text(value: object) -> str:
    """Return a text as it is, and of a long one its beginning and a digest that tells it."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) <= _LONG:
        return text
    return f"{text[:_LONG]}… {digest(text.encode('utf-8', 'backslashreplace'))}"


def _octets(output: Array | _Sample) -> int:
    data = output.data if isinstance(output, _Sample) else output
    texts = sum(map(len, data.ravel().tolist())) if data.dtype == np.object_ else 0
    return _OVERHEAD_OF_ARRAY + data.nbytes + 4 * texts


def _document(name: str, output: Array | _Sample) -> dict[str, Any]:
    if isinstance(output, _Sample):
        whole = {"datatype": output.datatype, "shape": output.shape}
        part = {"step": output.step, "digest": output.digest}
        return {"name": name, **whole, "data": _values(output.data), **part}
    datatype = protocol.datatype_of(output)
    return {"name": name, "datatype": datatype, "shape": output.shape, "data": _values(output)}


def _values(array: Array) -> list[Any]:
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "f" and not all(map(math.isfinite, values)):
        return [value if math.isfinite(value) else protocol.spell(value) for value in values]
    return values
