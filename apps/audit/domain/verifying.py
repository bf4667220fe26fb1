"""Reading an export over again, with nothing but the file and the public key. Pure.

What may have happened to a file, and how it is found:

* edited: the line's hash is not the line's; or, when the hash was made anew as well, the next line
  carries another one; or, when every later hash was made anew, the checkpoint does not fit.
* taken out, put in, moved: the positions do not count up one by one.
* cut off: the last line is not the signed end; or a checkpoint kept elsewhere lies behind it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from apps.audit.domain import chain, signing

MOST_FINDINGS = 1_000  # then the file is hopeless, and reading stops


class Kind(StrEnum):
    """What was done to the file."""

    EDITED = "edited"
    REMOVED = "removed"
    INSERTED = "inserted"
    MOVED = "moved"
    CUT_OFF = "cut off"
    REWRITTEN = "rewritten"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: What was done.
        position: Where in the chain; None when it is not about one event.
        file: In which file.
        line: In which line of it, from 1; 0 when it is about the whole file.
        sentence: For a person.
    """

    kind: Kind
    position: int | None
    file: str
    line: int
    sentence: str


@dataclass(frozen=True)
class Report:
    """What an export was found to be.

    Attributes:
        findings: What is wrong, in the order of the file; nothing when the export is whole.
        events: How many events were read.
        unsealed: How many of them had no place in the chain yet.
        first: The first position; None without an event.
        last: The last.
        checkpoints: How many checkpoints were read.
        signed_through: The position of the last checkpoint.
        signed_at: When it was signed.
        trusted: Whether signatures were checked, with a key that somebody gave.
        remarks: What is no fault, but should be known.
    """

    findings: tuple[Finding, ...]
    events: int
    unsealed: int
    first: int | None
    last: int | None
    checkpoints: int
    signed_through: int | None
    signed_at: str
    trusted: bool
    remarks: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.findings


class _Hopeless(Exception):
    """There is too much wrong to go on."""


@dataclass
class _File:
    """How far one file was read."""

    name: str
    digest: Any = field(default_factory=sha256)
    line: int = 0
    events: int = 0
    findings: int = 0
    head: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None

    @property
    def selective(self) -> bool:
        """Return whether the file holds what a search found, and not a stretch of the chain."""
        return bool(self.head and self.head.get("selection") is not None)


class Verifier:
    """Reads files in their order, and keeps what the next line must fit."""

    def __init__(self, keys: signing.Keys, known: Mapping[int, str] | None = None) -> None:
        """Begin.

        Args:
            keys: Public keys by name; without any, signatures are not checked.
            known: Hashes by position, from checkpoints that were kept elsewhere.
        """
        self._keys, self._known = keys, dict(known or {})
        self._findings: list[Finding] = []
        self._missing: list[tuple[int, int, str, int]] = []  # from, to, file, line
        self._remarks: list[str] = []
        self._last: chain.Link | None = None
        self._ahead: tuple[chain.Link, int] | None = None  # too early, and its line
        self._moved: set[int] = set()
        self._first: int | None = None
        self._checkpoint: tuple[int, bytes, Mapping[str, Any]] | None = None
        self._events = self._unsealed = self._checkpoints = 0
        self._selective = False

    def read(self, name: str, lines: Iterable[bytes]) -> None:
        """Read one file; a second one must go on where the first one ended."""
        file = _File(name)
        try:
            for raw in lines:
                file.line += 1
                self._read_line(file, raw)
                file.digest.update(raw)
            self._finish_file(file)
        except _Hopeless:
            self._remarks.append(f"Reading stopped after {MOST_FINDINGS:,} findings.")

    def report(self) -> Report:
        """Return what was found."""
        last = self._last.position if self._last and self._events else None
        gaps = [self._removed(*gap) for gap in self._missing]
        checkpoint = self._checkpoint[2] if self._checkpoint else {}
        findings = [*self._findings, *gaps, *self._not_reached(last or 0)]
        return Report(
            findings=tuple(sorted(findings, key=lambda f: (f.file, f.line))),
            events=self._events,
            unsealed=self._unsealed,
            first=self._first,
            last=last,
            checkpoints=self._checkpoints,
            signed_through=checkpoint.get("position"),
            signed_at=str(checkpoint.get("at", "")),
            trusted=bool(self._keys),
            remarks=tuple(self._remarks),
        )

    def _read_line(self, file: _File, raw: bytes) -> None:
        line = raw[:-1] if raw.endswith(b"\n") else raw
        if self._is_next(file, line):
            return
        row = _parsed(line)
        if file.end is not None:
            self._find(file, Kind.INSERTED, None, "A line stands behind the end of the export.")
        elif "event" in row:
            self._event(file, line, row)
        elif "checkpoint" in row:
            self._read_checkpoint(file, line, _inner(row, "checkpoint"))
        elif "export" in row:
            self._head(file, line, _inner(row, "export"))
        elif "end" in row:
            self._end(file, line, _inner(row, "end"))
        else:
            self._find(
                file, Kind.EDITED, self._expected(), "This is no line of the ledger, or was one."
            )
            self._step_over(file)

    def _is_next(self, file: _File, line: bytes) -> bool:
        """Take the very line that must come next; False for any other, which is then looked into.

        Nearly every line of a whole file is one: it is not parsed, only compared and hashed.
        """
        last = self._last
        if last is None or not last.hash or self._ahead or file.selective or file.end is not None:
            return False
        position, cut = last.position + 1, chain.cut(line, chain.HASH)
        carried = b'},"position":%d,"previous":"%s"}' % (position, last.hash.encode())
        if cut is None or not line.startswith(b'{"event":{') or not cut[0].endswith(carried):
            return False
        if chain.digest_of(cut[0]) != cut[1]:
            return False
        file.events += 1
        self._events += 1
        self._last = chain.Link(position, last.hash, cut[1])
        self._first = self._first or position
        if position in self._known:
            self._compare_with_known(file, self._last)
        return True

    def _head(self, file: _File, line: bytes, head: Mapping[str, Any]) -> None:
        if file.line != 1:
            self._find(file, Kind.INSERTED, None, "An export begins in the middle of the file.")
            return
        file.head = head
        self._selective = self._selective or file.selective
        self._check_signature(file, line, head, None)
        first = head.get("first")
        if self._last is None and isinstance(first, int) and not file.selective:
            self._begin(first)

    def _begin(self, first: int) -> None:
        """Wait for the position that the export says it begins with."""
        if first <= 1:
            self._last = chain.START
            return
        self._last = chain.Link(first - 1, "", "")
        self._remarks.append(f"The export begins at #{first:,}; what lies before is not in it.")

    def _event(self, file: _File, line: bytes, row: Mapping[str, Any]) -> None:
        file.events += 1
        self._events += 1
        link = _link(row)
        if link is None:
            self._unsealed_event(file, line, row)
            return
        if not _holds(line):
            link = self._edited(file, link)
        elif not self._in_place(file, link):
            return
        self._last = link
        self._first = self._first or link.position
        self._compare_with_known(file, link)

    def _edited(self, file: _File, link: chain.Link) -> chain.Link:
        """Note a line whose hash is not its own, and return where the chain goes on."""
        self._settle(file)
        known = self._last is not None and not file.selective
        position = self._expected() if known else link.position
        self._find(file, Kind.EDITED, position, f"The event at #{position:,} was changed.")
        return chain.Link(position, "", link.hash)

    def _unsealed_event(self, file: _File, line: bytes, row: Mapping[str, Any]) -> None:
        self._unsealed += 1
        if row.get("position", 0) is None and file.selective:
            if not _holds(line):
                self._find(file, Kind.EDITED, None, "An event that is not sealed was changed.")
            return
        self._find(file, Kind.EDITED, self._expected(), "This event does not say where it stands.")
        self._step_over(file)

    def _in_place(self, file: _File, link: chain.Link) -> bool:
        """Return whether the chain goes on from this line, and note what is wrong with it.

        A line that comes too early waits for the next one: when that follows it, the lines
        between are missing; when not, this one was moved here.
        """
        if self._ahead and link.position == self._ahead[0].position + 1:
            self._settle(file)
        elif self._ahead:
            self._moved_ahead(file)
        expected = self._expected()
        if link.position < expected:
            self._out_of_place(file, link.position, expected)
            return False
        if link.position > expected and self._last is not None and not file.selective:
            self._ahead = (link, file.line)
            return False
        if link.position == expected or self._last is None:
            self._follow(file, link)
        return True

    def _settle(self, file: _File) -> None:
        """Go on from the line that came too early: those before it are missing."""
        if self._ahead:
            link, line = self._ahead
            self._ahead = None
            self._gap(self._expected(), link.position - 1, file, line)
            self._last = link

    def _moved_ahead(self, file: _File) -> None:
        if self._ahead:
            link, line = self._ahead
            self._ahead = None
            self._moved.add(link.position)
            sentence = f"An event that says it is #{link.position:,} stands before its time."
            self._find_at(file, line, Kind.MOVED, link.position, sentence)

    def _gap(self, first: int, last: int, file: _File, line: int) -> None:
        """Note that positions are missing, but for those that stand elsewhere."""
        for position in sorted(p for p in self._moved if first <= p <= last):
            if first < position:
                self._missing.append((first, position - 1, file.name, line))
            first = position + 1
        if first <= last:
            self._missing.append((first, last, file.name, line))

    def _follow(self, file: _File, link: chain.Link) -> None:
        """Check that the line carries the hash of the one before."""
        if self._last is None and link.position > 1:
            return
        before = self._last or chain.START
        if before.hash and link.previous != before.hash:
            self._find(
                file,
                Kind.EDITED,
                before.position or link.position,
                f"The event at #{link.position:,} was sealed after another one than the "
                f"#{before.position:,} that stands here.",
            )

    def _out_of_place(self, file: _File, position: int, expected: int) -> None:
        for k, (first, last, name, line) in enumerate(self._missing):
            if first <= position <= last:
                rest = [(first, position - 1, name, line), (position + 1, last, name, line)]
                self._missing[k : k + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                self._find(
                    file,
                    Kind.MOVED,
                    position,
                    f"The event at #{position:,} stands after #{expected - 1:,}.",
                )
                return
        self._find(
            file,
            Kind.INSERTED,
            position,
            f"An event that says it is #{position:,} stands after #{expected - 1:,}.",
        )

    def _read_checkpoint(self, file: _File, line: bytes, checkpoint: Mapping[str, Any]) -> None:
        position, digest = checkpoint.get("position"), checkpoint.get("hash")
        number = checkpoint.get("number")
        if not (isinstance(position, int) and isinstance(number, int) and _is_hash(digest)):
            self._find(file, Kind.EDITED, None, "A checkpoint was changed.")
            return
        if self._checkpoint and self._checkpoint[1] == line:
            return  # the one that this file goes on from
        self._checkpoints += 1
        self._check_signature(file, line, checkpoint, position)
        self._check_order(file, number, checkpoint)
        self._check_against_chain(file, number, chain.Link(position, "", str(digest)))
        self._checkpoint = (number, line, checkpoint)

    def _check_order(self, file: _File, number: int, checkpoint: Mapping[str, Any]) -> None:
        if self._checkpoint is None:
            return
        before, line, _ = self._checkpoint
        if number != before + 1:
            self._find(
                file,
                Kind.REMOVED if number > before else Kind.MOVED,
                None,
                f"Checkpoint {number} stands after checkpoint {before}.",
            )
        elif checkpoint.get("previous") != chain.digest_of(line):
            self._find(
                file, Kind.EDITED, None, f"Checkpoint {number} was signed after another {before}."
            )

    def _check_against_chain(self, file: _File, number: int, signed: chain.Link) -> None:
        if self._ahead and signed.position < self._ahead[0].position:
            self._moved_ahead(file)
        self._settle(file)
        if self._last is None or self._last == chain.Link(signed.position, "", ""):
            self._last = signed  # the chain goes on from here
        elif signed.position > self._last.position:
            self._gap(self._last.position + 1, signed.position, file, file.line)
            self._last = signed
        elif signed.position < self._last.position:
            self._find(
                file,
                Kind.INSERTED,
                signed.position + 1,
                f"Checkpoint {number} was signed at #{signed.position:,} and stands after "
                f"#{self._last.position:,}: it was moved, or what stands between was put in.",
            )
        elif self._last.hash and signed.hash != self._last.hash:
            self._rewritten(file, number, signed.position)

    def _rewritten(self, file: _File, number: int, position: int) -> None:
        since = self._checkpoint[2]["position"] + 1 if self._checkpoint else self._first or 1
        where = f"#{position:,}" if since == position else f"#{since:,} to #{position:,}"
        self._find(
            file,
            Kind.REWRITTEN,
            position,
            f"Checkpoint {number} was signed for another chain: in {where} something was "
            "changed, and the hashes were made anew.",
        )

    def _end(self, file: _File, line: bytes, end: Mapping[str, Any]) -> None:
        file.end = end
        self._settle(file)
        self._check_signature(file, line, end, None)
        last, here = end.get("last"), self._last.position if self._last else 0
        if isinstance(last, int) and last > here and not file.selective:
            self._gap(here + 1, last, file, file.line)
        same = end.get("digest") == file.digest.hexdigest() and end.get("count") == file.events
        same = same and end.get("id") == (file.head or {}).get("id")
        if not same and not file.findings and not self._missing:
            self._find(
                file,
                Kind.REWRITTEN,
                self._last.position if self._last else None,
                "The file is not the one that its last line was signed for.",
            )

    def _finish_file(self, file: _File) -> None:
        self._settle(file)
        if file.head is None:
            self._find_at(
                file, 1, Kind.REMOVED, None, "The first line is not the beginning of an export."
            )
        if file.end is None:
            self._find(
                file,
                Kind.CUT_OFF,
                self._expected(),
                f"The file ends after #{self._expected() - 1:,} without its last line: "
                "it was cut off there.",
            )

    def _check_signature(
        self, file: _File, line: bytes, said: Mapping[str, Any], position: int | None
    ) -> None:
        if not self._keys:
            return
        cut, key = chain.cut(line, chain.SIGNATURE), self._keys.get(str(said.get("key")))
        if key is None:
            sentence = f"The line was signed with the key {said.get('key')}, which was not given."
        elif cut is None or not signing.signed(*cut, key):
            sentence = "The signature does not belong to the line."
        else:
            return
        self._find(file, Kind.UNTRUSTED, position, sentence)

    def _compare_with_known(self, file: _File, link: chain.Link) -> None:
        known = self._known.get(link.position)
        if known is not None and known != link.hash:
            self._find(
                file,
                Kind.REWRITTEN,
                link.position,
                f"A checkpoint kept elsewhere was signed for another chain at #{link.position:,}.",
            )

    def _not_reached(self, last: int) -> list[Finding]:
        behind = max(self._known, default=0)
        if behind <= last or self._selective:
            return []
        sentence = f"A checkpoint kept elsewhere was signed at #{behind:,}, behind the end."
        return [Finding(Kind.CUT_OFF, last + 1, "", 0, sentence)]

    def _removed(self, first: int, last: int, name: str, line: int) -> Finding:
        what = f"#{first:,} is" if first == last else f"#{first:,} to #{last:,} are"
        return Finding(Kind.REMOVED, first, name, line, f"{what} missing.")

    def _expected(self) -> int:
        return self._last.position + 1 if self._last else self._first or 1

    def _step_over(self, file: _File) -> None:
        """Go on behind a line that cannot be read; its hash is not known."""
        self._settle(file)
        self._last = chain.Link(self._expected(), "", "")

    def _find(self, file: _File, kind: Kind, position: int | None, sentence: str) -> None:
        self._find_at(file, file.line, kind, position, sentence)

    def _find_at(
        self, file: _File, line: int, kind: Kind, position: int | None, sentence: str
    ) -> None:
        file.findings += 1
        self._findings.append(Finding(kind, position, file.name, line, sentence))
        if len(self._findings) >= MOST_FINDINGS:
            raise _Hopeless


def known_checkpoints(lines: Iterable[bytes], keys: signing.Keys) -> dict[int, str]:
    """Return the hashes by position that a file of checkpoints holds.

    Raises:
        ValueError: A line is no checkpoint, or its signature is not of one of the keys.
    """
    known = {}
    for number, raw in enumerate(lines, start=1):
        line = raw.rstrip(b"\n")
        said, cut = _inner(_parsed(line), "checkpoint"), chain.cut(line, chain.SIGNATURE)
        position = said.get("position")
        if not isinstance(position, int) or cut is None:
            raise ValueError(f"Line {number} is not a checkpoint.")
        key = keys.get(str(said.get("key")))
        if keys and (key is None or not signing.signed(*cut, key)):
            raise ValueError(f"Line {number} was not signed with the key that was given.")
        known[position] = str(said.get("hash"))
    return known


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _inner(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = row.get(name)
    return inner if isinstance(inner, dict) else {}


def _link(row: Mapping[str, Any]) -> chain.Link | None:
    position, previous, digest = row.get("position"), row.get("previous"), row.get("hash")
    if not isinstance(position, int) or isinstance(position, bool) or position < 1:
        return None
    if not _is_hash(previous) or not _is_hash(digest):
        return None
    return chain.Link(position, str(previous), str(digest))


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == chain.DIGITS[chain.HASH]


def _holds(line: bytes) -> bool:
    """Return whether a line's hash is its own."""
    cut = chain.cut(line, chain.HASH)
    return cut is not None and chain.digest_of(cut[0]) == cut[1]
