"""What is said, whoever carries it."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """One thing to say.

    Attributes:
        kind: What sort of thing ("release.waits_for_you").
        title: One line, for a subject.
        body: More, in plain text; may be empty.
        link: A path of ours where it is looked at ("/releases/12").
        urgent: Whether somebody should be woken.
        at: When it was said, in ISO 8601.
    """

    kind: str
    title: str
    body: str
    link: str
    urgent: bool
    at: str

    def as_payload(self) -> dict[str, Any]:
        """Return it as a row keeps it."""
        return asdict(self)


def from_payload(payload: dict[str, Any]) -> Message:
    """Return the message that `as_payload` wrote."""
    return Message(**payload)
