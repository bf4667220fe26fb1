"""What is wrong with an export, as it is found and as it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

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


class Hopeless(Exception):
    """There is too much wrong to go on."""


@dataclass
class File:
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


class Findings:
    """What was found wrong so far, in the order of the lines that told it."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def add(self, file: File, kind: Kind, position: int | None, sentence: str) -> None:
        """Note what is wrong with the line that is being read.

        Raises:
            Hopeless: It is one too many.
        """
        self.add_at(file, file.line, kind, position, sentence)

    def add_at(
        self, file: File, line: int, kind: Kind, position: int | None, sentence: str
    ) -> None:
        """Note what is wrong with a line that was read before; as `add`."""
        file.findings += 1
        self.found.append(Finding(kind, position, file.name, line, sentence))
        if len(self.found) >= MOST_FINDINGS:
            raise Hopeless
