"""How one event becomes one line, and how each line carries the one before. Pure.

A line is one JSON object whose last member, `hash` or `signature`, was made from the bytes of the
line without that member. Whoever checks a line therefore cuts its tail off and needs no rules
for writing JSON; docs/ledger.md does it in twenty lines. An event's line holds its position in the
chain and the hash of the line before it, so that no line can be changed, taken out, put in or
moved without every later hash changing too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

GENESIS = "0" * 64  # what the first line carries in place of a hash before it
HASH, SIGNATURE = "hash", "signature"
DIGITS = {HASH: 64, SIGNATURE: 128}  # hex digits of each

# Sorted, without spaces, ASCII: the same values make the same bytes, in any locale.
_write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class Link:
    """Where one event stands in the chain.

    Attributes:
        position: 1 for the first event that was ever sealed; no position is left out.
        previous: The hash of the event before it, 64 hex digits.
        hash: Its own.
    """

    position: int
    previous: str
    hash: str


START = Link(0, GENESIS, GENESIS)


def after(link: Link, event: Mapping[str, Any]) -> Link:
    """Return where `event` stands when it follows `link`."""
    position = link.position + 1
    return Link(position, link.hash, digest_of(event_body(event, position, link.hash)))


def event_body(event: Mapping[str, Any], position: int | None, previous: str | None) -> bytes:
    """Return the line of an event without its hash; no position when it is not sealed yet."""
    return canonical({"event": event, "position": position, "previous": previous})


def event_line(event: Mapping[str, Any], position: int | None, previous: str | None) -> bytes:
    """Return the line of an event, without a line feed."""
    body = event_body(event, position, previous)
    return close(body, HASH, digest_of(body))


def canonical(value: Any) -> bytes:
    """Return `value` as JSON: the same value is always the same bytes."""
    return _write(value).encode("ascii")


def digest_of(body: bytes) -> str:
    """Return the sha256 of `body`, 64 hex digits."""
    return sha256(body).hexdigest()


def close(body: bytes, member: str, value: str) -> bytes:
    """Add the last member to an object."""
    return b'%s,"%s":"%s"}' % (body[:-1], member.encode(), value.encode())


def cut(line: bytes, member: str) -> tuple[bytes, str] | None:
    """Take the last member off a line; None when the line does not end in it.

    Returns:
        The bytes that the member was made from, and its value in hex.
    """
    opening = b',"%s":"' % member.encode()
    begin = len(line) - DIGITS[member] - len(opening) - 2
    if begin < 1 or not line.startswith(opening, begin) or not line.endswith(b'"}'):
        return None
    return line[:begin] + b"}", line[begin + len(opening) : -2].decode("ascii", "replace")


def moment(at: datetime) -> str:
    """Return a time as the ledger writes it: UTC, to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
