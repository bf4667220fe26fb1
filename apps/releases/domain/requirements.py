"""Pip lines against pip lines: what came, what went, what changed its version. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)")


@dataclass(frozen=True)
class Change:
    """One distribution that differs; None on the side that has no line of it."""

    name: str
    before: str | None
    after: str | None

    @property
    def words(self) -> str:
        """Return the change as somebody would say it."""
        if self.before is None:
            return " ".join(filter(None, (self.name, _wanted(self.after), "is new")))
        if self.after is None:
            return f"{self.name} is gone"
        return f"{self.name} {_wanted(self.before) or 'any'} to {_wanted(self.after) or 'any'}"


def changes(before: Sequence[str], after: Sequence[str]) -> list[Change]:
    """Return what differs, by name; comments, options and the order of lines do not count."""
    was, becomes = _by_name(before), _by_name(after)
    return [
        Change(name, was.get(name), becomes.get(name))
        for name in sorted({*was, *becomes})
        if was.get(name) != becomes.get(name)
    ]


def _by_name(lines: Sequence[str]) -> dict[str, str]:
    """Return each line as one way of writing it, by the distribution's normal name."""
    found = {}
    for line in lines:
        match = _read(line)
        if match:
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            found[name] = f"{name}{match[2] or ''}{re.sub(r'[ ]+', '', match[3])}"
    return found


def _read(line: str | None) -> re.Match[str] | None:
    plain = (line or "").partition(" #")[0].strip()
    return None if plain.startswith(("#", "-")) else NAME.fullmatch(plain)


def _wanted(line: str | None) -> str:
    """Return the version of a line ("1.5.2" of "numpy==1.5.2", ">=2" of "numpy>=2")."""
    match = _read(line)
    if match is None:
        return ""
    version = match[3].partition(";")[0].strip().removeprefix("==")
    return f"{match[2] or ''} {version}".strip()
