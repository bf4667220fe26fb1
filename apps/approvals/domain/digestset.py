"""What a yes covers, and how two of them differ: pure.

The content is a few named parts, each a JSON object. Each part has a digest (SHA-256 of its
canonical JSON, after RFC 8785), and the set of those has one: that is what an approval signs, and
what anybody can compute again from an export.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.kernel import digests

NOTHING = "nothing"


@dataclass(frozen=True)
class DigestSet:
    """Named parts and their digests.

    Attributes:
        content: What each part says.
        parts: The digest of each part.
        digest: Of `parts`.
    """

    content: Mapping[str, Mapping[str, Any]]
    parts: Mapping[str, str]
    digest: str


@dataclass(frozen=True)
class Change:
    """One difference between two contents.

    Attributes:
        part: In which part.
        name: Which value in it, dotted.
        was: As a person reads it.
        now: As a person reads it.
    """

    part: str
    name: str
    was: str
    now: str

    @property
    def sentence(self) -> str:
        """Return the change as a few words: "configuration, replicas: 1 to 2"."""
        return f"{self.part}{', ' + self.name if self.name else ''}: {self.was} to {self.now}"


def seal(content: Mapping[str, Mapping[str, Any]]) -> DigestSet:
    """Return `content` with its digests.

    Raises:
        ValueError: It holds a number that JSON has no word for.
    """
    parts = {name: digests.of_bytes(digests.canonical(said)) for name, said in content.items()}
    return DigestSet(content, parts, digests.of_bytes(digests.canonical(parts)))


def changes(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> list[Change]:
    """Return every value that differs, by part and name."""
    return [
        Change(part, name, was, now)
        for part in sorted({*before, *after})
        for name, was, now in _differences("", before.get(part, {}), after.get(part, {}))
    ]


def _differences(path: str, was: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}):
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(inner, was.get(key), now.get(key))
    elif was != now:
        yield path, _words(was), _words(now)


def _words(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    text = str(value)
    return f"{text[:19]}…" if text.startswith("sha256:") else text[:120]
