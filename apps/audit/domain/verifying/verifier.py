"""Reading the files of an export, line by line."""

from collections.abc import Iterable, Mapping
from typing import Any

from apps.audit.domain import chain, signing
from apps.audit.domain.verifying.checkpoints import Checkpoints
from apps.audit.domain.verifying.findings import (
    MOST_FINDINGS,
    File,
    Findings,
    Hopeless,
    Kind,
    Report,
)
from apps.audit.domain.verifying.lines import holds, inner, link_of, parsed
from apps.audit.domain.verifying.order import Order
from apps.audit.domain.verifying.signatures import Signatures


class Verifier:
    """Reads files in their order, and keeps what the next line must fit."""

    def __init__(self, keys: signing.Keys, known: Mapping[int, str] | None = None) -> None:
        """Begin.

        Args:
            keys: Public keys by name; without any, signatures are not checked.
            known: Hashes by position, from checkpoints that were kept elsewhere.
        """
        self._findings = Findings()
        self._order = Order(self._findings)
        self._signatures = Signatures(self._findings, keys)
        self._checkpoints = Checkpoints(self._findings, self._order, self._signatures, known)
        self._remarks: list[str] = []
        self._events = self._unsealed = 0
        self._selective = False

    def read(self, name: str, lines: Iterable[bytes]) -> None:
        """Read one file; a second one must go on where the first one ended."""
        file = File(name)
        try:
            for raw in lines:
                file.line += 1
                self._read_line(file, raw)
                file.digest.update(raw)
            self._finish_file(file)
        except Hopeless:
            self._remarks.append(f"Reading stopped after {MOST_FINDINGS:,} findings.")

    def report(self) -> Report:
        """Return what was found."""
        order, checkpoint = self._order, self._checkpoints.last
        last = order.last.position if order.last and self._events else None
        behind = [] if self._selective else self._checkpoints.not_reached(last or 0)
        findings = [*self._findings.found, *order.missing(), *behind]
        return Report(
            findings=tuple(sorted(findings, key=lambda f: (f.file, f.line))),
            events=self._events,
            unsealed=self._unsealed,
            first=order.first,
            last=last,
            checkpoints=self._checkpoints.count,
            signed_through=checkpoint.get("position"),
            signed_at=str(checkpoint.get("at", "")),
            trusted=self._signatures.checked,
            remarks=tuple(self._remarks),
        )

    def _read_line(self, file: File, raw: bytes) -> None:
        line = raw[:-1] if raw.endswith(b"\n") else raw
        if self._is_next(file, line):
            return
        row = parsed(line)
        if file.end is not None:
            sentence = "A line stands behind the end of the export."
            self._findings.add(file, Kind.INSERTED, None, sentence)
        elif "event" in row:
            self._event(file, line, row)
        elif "checkpoint" in row:
            self._checkpoints.read(file, line, inner(row, "checkpoint"))
        elif "export" in row:
            self._head(file, line, inner(row, "export"))
        elif "end" in row:
            self._end(file, line, inner(row, "end"))
        else:
            sentence = "This is no line of the ledger, or was one."
            self._findings.add(file, Kind.EDITED, self._order.expected, sentence)
            self._order.step_over(file)

    def _is_next(self, file: File, line: bytes) -> bool:
        """Take the very line that must come next; False for any other, which is then looked into.

        Nearly every line of a whole file is one: it is not parsed, only compared and hashed.
        """
        order = self._order
        last = order.last
        if last is None or not last.hash or order.ahead or file.selective or file.end is not None:
            return False
        position, cut = last.position + 1, chain.cut(line, chain.HASH)
        carried = b'},"position":%d,"previous":"%s"}' % (position, last.hash.encode())
        if cut is None or not line.startswith(b'{"event":{') or not cut[0].endswith(carried):
            return False
        if chain.digest_of(cut[0]) != cut[1]:
            return False
        file.events += 1
        self._events += 1
        link = chain.Link(position, last.hash, cut[1])
        order.follow(link)
        if position in self._checkpoints.known:
            self._checkpoints.compare_with_known(file, link)
        return True

    def _head(self, file: File, line: bytes, head: Mapping[str, Any]) -> None:
        if file.line != 1:
            sentence = "An export begins in the middle of the file."
            self._findings.add(file, Kind.INSERTED, None, sentence)
            return
        file.head = head
        self._selective = self._selective or file.selective
        self._signatures.check(file, line, head, None)
        first = head.get("first")
        if self._order.last is None and isinstance(first, int) and not file.selective:
            self._order.begin(first)
            if first > 1:
                self._remarks.append(
                    f"The export begins at #{first:,}; what lies before is not in it."
                )

    def _event(self, file: File, line: bytes, row: Mapping[str, Any]) -> None:
        file.events += 1
        self._events += 1
        link = link_of(row)
        if link is None:
            self._unsealed_event(file, line, row)
            return
        if not holds(line):
            link = self._edited(file, link)
        elif not self._order.goes_on(file, link):
            return
        self._order.follow(link)
        self._checkpoints.compare_with_known(file, link)

    def _edited(self, file: File, link: chain.Link) -> chain.Link:
        """Note a line whose hash is not its own, and return where the chain goes on."""
        self._order.settle(file)
        known = self._order.last is not None and not file.selective
        position = self._order.expected if known else link.position
        sentence = f"The event at #{position:,} was changed."
        self._findings.add(file, Kind.EDITED, position, sentence)
        return chain.Link(position, "", link.hash)

    def _unsealed_event(self, file: File, line: bytes, row: Mapping[str, Any]) -> None:
        self._unsealed += 1
        if row.get("position", 0) is None and file.selective:
            if not holds(line):
                sentence = "An event that is not sealed was changed."
                self._findings.add(file, Kind.EDITED, None, sentence)
            return
        sentence = "This event does not say where it stands."
        self._findings.add(file, Kind.EDITED, self._order.expected, sentence)
        self._order.step_over(file)

    def _end(self, file: File, line: bytes, end: Mapping[str, Any]) -> None:
        file.end = end
        order = self._order
        order.settle(file)
        self._signatures.check(file, line, end, None)
        last, here = end.get("last"), order.last.position if order.last else 0
        if isinstance(last, int) and last > here and not file.selective:
            order.lacks(file, last)
        same = end.get("digest") == file.digest.hexdigest() and end.get("count") == file.events
        same = same and end.get("id") == (file.head or {}).get("id")
        if not same and not file.findings and order.whole:
            self._findings.add(
                file,
                Kind.REWRITTEN,
                order.last.position if order.last else None,
                "The file is not the one that its last line was signed for.",
            )

    def _finish_file(self, file: File) -> None:
        self._order.settle(file)
        if file.head is None:
            sentence = "The first line is not the beginning of an export."
            self._findings.add_at(file, 1, Kind.REMOVED, None, sentence)
        if file.end is None:
            expected = self._order.expected
            self._findings.add(
                file,
                Kind.CUT_OFF,
                expected,
                f"The file ends after #{expected - 1:,} without its last line: "
                "it was cut off there.",
            )
