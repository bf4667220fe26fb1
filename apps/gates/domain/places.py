"""Reading a document that a person wrote, so that every complaint names its exact place: pure.

A `Place` is a value and the path that leads to it ("gates[3].max_age_days"). Each reader either
returns what it promises or raises `Invalid` with the path, the value and what to write instead.
"""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from controlplane.kernel.errors import Invalid

CODE = "policy.invalid"
SHOWN = 60  # characters of a wrong value that a complaint repeats


@dataclass(frozen=True)
class Place:
    """A value in a document.

    Attributes:
        value: What stands there; None where nothing does.
        path: Where that is, from the document's top; empty for the whole document.
    """

    value: object
    path: str = ""

    def refuse(self, remedy: str) -> NoReturn:
        """Complain about this place.

        Raises:
            Invalid: Always.
        """
        where = self.path or "The document"
        what = "is missing" if self.value is None else f"is {_shown(self.value)}"
        raise Invalid(f"{where} {what}.", remedy=remedy, field=self.path, code=CODE)

    def fields(self, known: Collection[str]) -> "Fields":
        """Return the named values, and refuse a name that is not `known`."""
        if not isinstance(self.value, Mapping):
            self.refuse(f"Write these fields here: {', '.join(known)}.")
        for name in self.value:
            if name not in known:
                self._refuse_name(str(name), known)
        return Fields(self, dict(self.value))

    def items(self, of: str) -> Iterator["Place"]:
        """Return each entry of a list."""
        if not isinstance(self.value, list | tuple):
            self.refuse(f"Write a list of {of}.")
        for index, entry in enumerate(self.value):
            yield Place(entry, f"{self.path}[{index}]")

    def text(self, longest: int = 200) -> str:
        """Return a text that says something."""
        if not isinstance(self.value, str) or not self.value.strip():
            self.refuse("Write a text.")
        if len(self.value) > longest:
            self.refuse(f"Write at most {longest} characters.")
        if not self.value.isprintable():
            self.refuse("Write one line of printable characters.")
        return self.value.strip()

    def choice(self, known: Collection[str]) -> str:
        """Return a text that is one of `known`."""
        if not isinstance(self.value, str) or self.value not in known:
            self.refuse(f"{_guess(self.value, known)}Write one of: {', '.join(known)}.")
        return self.value

    def boolean(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            self.refuse("Write true or false.")
        return self.value

    def number(self, of: str, *, above: float | None = None, most: float) -> float:
        """Return a finite number in range; without `above`, 0 is the least."""
        bound = "of 0 or more" if above is None else f"above {above:g}"
        value = self.value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or (value < 0 if above is None else value <= above)
            or value > most
        ):
            self.refuse(f"Write a number of {of} {bound}, at most {most:g}.")
        return value

    def mapping(self) -> dict[str, object]:
        """Return names and values that JSON can hold."""
        if not isinstance(self.value, Mapping):
            self.refuse("Write names and values, or {} for none.")
        for name, value in self.value.items():
            Place(value, f"{self.path}.{name}").plain(name)
        return dict(self.value)

    def plain(self, name: object) -> None:
        """Refuse what JSON or the database cannot hold: a date, a not-a-number, a zero byte."""
        if not isinstance(name, str) or not _is_plain(name) or not _is_plain(self.value):
            self.refuse("Write a text, a number, true, false, a list or names and values.")

    def _refuse_name(self, name: str, known: Collection[str]) -> NoReturn:
        path = f"{self.path}.{name}" if self.path else name
        raise Invalid(
            f"{path} is not a field of a policy.",
            remedy=f"{_guess(name, known)}The fields here are: {', '.join(known)}.",
            field=path,
            code=CODE,
        )


@dataclass(frozen=True)
class Fields:
    """The named values of one place."""

    parent: Place
    values: Mapping[str, object]

    def __getitem__(self, name: str) -> Place:
        """Return the place of `name`, which may be empty."""
        path = f"{self.parent.path}.{name}" if self.parent.path else name
        return Place(self.values.get(name), path)

    def __contains__(self, name: str) -> bool:
        """Return whether something stands under `name`; null counts as nothing."""
        return self.values.get(name) is not None


def _is_plain(value: object) -> bool:
    match value:
        case None | bool() | int():
            return True
        case float():
            return math.isfinite(value)
        case str():
            return "\x00" not in value and value.isprintable()
        case list():
            return all(_is_plain(entry) for entry in value)
        case dict():
            return all(
                isinstance(k, str) and _is_plain(k) and _is_plain(v) for k, v in value.items()
            )
    return False


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _guess(value: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(str(value), list(known), n=1)
    return f"Did you mean {close[0]}? " if close else ""
