"""Checkpoints: those in an export, and those that somebody kept elsewhere."""

from collections.abc import Iterable, Mapping
from typing import Any

from apps.audit.domain import chain, signing
from apps.audit.domain.verifying.findings import File, Finding, Findings, Kind
from apps.audit.domain.verifying.lines import inner, is_hash, parsed
from apps.audit.domain.verifying.order import Order
from apps.audit.domain.verifying.signatures import Signatures


class Checkpoints:
    """Holds checkpoints against the chain, and against each other.

    Attributes:
        count: How many were read.
        known: Hashes by position, from checkpoints that were kept elsewhere.
    """

    def __init__(
        self,
        findings: Findings,
        order: Order,
        signatures: Signatures,
        known: Mapping[int, str] | None,
    ) -> None:
        self._findings, self._order, self._signatures = findings, order, signatures
        self.count = 0
        self.known = dict(known or {})
        self._last: tuple[int, bytes, Mapping[str, Any]] | None = None

    @property
    def last(self) -> Mapping[str, Any]:
        """Return what the last checkpoint says; an empty mapping before any."""
        return self._last[2] if self._last else {}

    def read(self, file: File, line: bytes, checkpoint: Mapping[str, Any]) -> None:
        """Check one that stands in the export."""
        position, digest = checkpoint.get("position"), checkpoint.get("hash")
        number = checkpoint.get("number")
        if not (isinstance(position, int) and isinstance(number, int) and is_hash(digest)):
            self._findings.add(file, Kind.EDITED, None, "A checkpoint was changed.")
            return
        if self._last and self._last[1] == line:
            return  # the one that this file goes on from
        self.count += 1
        self._signatures.check(file, line, checkpoint, position)
        self._check_order(file, number, checkpoint)
        self._check_against_chain(file, number, chain.Link(position, "", str(digest)))
        self._last = (number, line, checkpoint)

    def compare_with_known(self, file: File, link: chain.Link) -> None:
        """Check an event against the checkpoint of its position that was kept elsewhere."""
        known = self.known.get(link.position)
        if known is not None and known != link.hash:
            self._findings.add(
                file,
                Kind.REWRITTEN,
                link.position,
                f"A checkpoint kept elsewhere was signed for another chain at #{link.position:,}.",
            )

    def not_reached(self, last: int) -> list[Finding]:
        """Return what tells that events behind `last` were signed once."""
        behind = max(self.known, default=0)
        if behind <= last:
            return []
        sentence = f"A checkpoint kept elsewhere was signed at #{behind:,}, behind the end."
        return [Finding(Kind.CUT_OFF, last + 1, "", 0, sentence)]

    def _check_order(self, file: File, number: int, checkpoint: Mapping[str, Any]) -> None:
        if self._last is None:
            return
        before, line, _ = self._last
        if number != before + 1:
            self._findings.add(
                file,
                Kind.REMOVED if number > before else Kind.MOVED,
                None,
                f"Checkpoint {number} stands after checkpoint {before}.",
            )
        elif checkpoint.get("previous") != chain.digest_of(line):
            self._findings.add(
                file, Kind.EDITED, None, f"Checkpoint {number} was signed after another {before}."
            )

    def _check_against_chain(self, file: File, number: int, signed: chain.Link) -> None:
        order = self._order
        order.settle_before(file, signed.position)
        if order.last is None or order.last == chain.Link(signed.position, "", ""):
            order.last = signed  # the chain goes on from here
        elif signed.position > order.last.position:
            order.lacks(file, signed.position)
            order.last = signed
        elif signed.position < order.last.position:
            self._findings.add(
                file,
                Kind.INSERTED,
                signed.position + 1,
                f"Checkpoint {number} was signed at #{signed.position:,} and stands after "
                f"#{order.last.position:,}: it was moved, or what stands between was put in.",
            )
        elif order.last.hash and signed.hash != order.last.hash:
            self._rewritten(file, number, signed.position)

    def _rewritten(self, file: File, number: int, position: int) -> None:
        since = self._last[2]["position"] + 1 if self._last else self._order.first or 1
        where = f"#{position:,}" if since == position else f"#{since:,} to #{position:,}"
        self._findings.add(
            file,
            Kind.REWRITTEN,
            position,
            f"Checkpoint {number} was signed for another chain: in {where} something was "
            "changed, and the hashes were made anew.",
        )


def known_checkpoints(lines: Iterable[bytes], keys: signing.Keys) -> dict[int, str]:
    """Return the hashes by position that a file of checkpoints holds.

    Raises:
        ValueError: A line is no checkpoint, or its signature is not of one of the keys.
    """
    known = {}
    for number, raw in enumerate(lines, start=1):
        line = raw.rstrip(b"\n")
        said, cut = inner(parsed(line), "checkpoint"), chain.cut(line, chain.SIGNATURE)
        position = said.get("position")
        if not isinstance(position, int) or cut is None:
            raise ValueError(f"Line {number} is not a checkpoint.")
        key = keys.get(str(said.get("key")))
        if keys and (key is None or not signing.signed(*cut, key)):
            raise ValueError(f"Line {number} was not signed with the key that was given.")
        known[position] = str(said.get("hash"))
    return known
