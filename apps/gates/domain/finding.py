"""What a gate's program found: values."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What evidence says. UNKNOWN is never taken for PASSED."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Where evidence came from."""

    MEASURED = "measured"  # a program of ours looked
    CI = "ci"  # a pipeline sent it
    STATEMENT = "statement"  # a person said so


@dataclass(frozen=True)
class Finding:
    """What one run of a gate's program found.

    Attributes:
        verdict: Passed, failed, or unknown.
        sentence: What was found, for a person, with its numbers.
        remedy: What to do about it; empty when it passed.
        facts: The numbers, for a program and for the page's details; JSON.
        about: The digest of the bytes that were looked at; "" for the bundle's.
        expires_at: When the world may have changed so much that it must be looked at again; None
            for as long as the gate's own limit says.
        cites: The row of the evidence that this judges, where it judges evidence that somebody
            sent; None when the finding itself becomes evidence.
    """

    verdict: Verdict
    sentence: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    about: str = ""
    expires_at: datetime | None = None
    cites: int | None = None


def passed(sentence: str, **facts: Any) -> Finding:
    """Return the finding that all is well."""
    return Finding(Verdict.PASSED, sentence, facts=facts)


def failed(sentence: str, remedy: str, **facts: Any) -> Finding:
    """Return the finding that something is wrong."""
    return Finding(Verdict.FAILED, sentence, remedy, facts)


def unknown(sentence: str, remedy: str, **facts: Any) -> Finding:
    """Return the finding that nothing is known."""
    return Finding(Verdict.UNKNOWN, sentence, remedy, facts)
