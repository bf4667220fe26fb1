"""Reading a strategy's document: every value is checked once, at the edge. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from controlplane.kernel.errors import Invalid

LONGEST = timedelta(days=30)


@dataclass
class Reader:
    """One object of a document, at a place in it.

    Attributes:
        document: The object.
        place: Where it stands ("strategy.steps[2]"), for whoever has to mend it.
    """

    document: Mapping[str, Any]
    place: str = "strategy"
    _read: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        """Return whether the object says something about `name`."""
        self._read.add(name)
        return self.document.get(name) is not None

    def percent(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """Return a whole number of percent."""
        return self.integer(name, default, least=least, most=100)

    def integer(self, name: str, default: int | None = None, *, least: int, most: int) -> int:
        """Return a whole number within bounds."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"is {value!r}; it is a whole number from {least} to {most}.")
        return value

    def number(
        self, name: str, default: float | None = None, *, least: float, most: float
    ) -> float:
        """Return a number within bounds."""
        value = self._value(name, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value <= most:
            raise self.wrong(name, f"is {value!r}; it is a number from {least:g} to {most:g}.")
        return float(value)

    def seconds(self, name: str, default: timedelta, *, least: float = 0) -> timedelta:
        """Return a length of time, written in seconds."""
        most = int(LONGEST.total_seconds())
        value = self.number(name, default.total_seconds(), least=least, most=most)
        return timedelta(seconds=value)

    def truth(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, f"is {value!r}; it is true or false.")
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """Return one of some words."""
        value = self._value(name, default)
        if value not in list(choices):
            raise self.wrong(name, f"is {value!r}; it is one of: {', '.join(choices)}.")
        return str(value)

    def text(self, name: str, default: str | None = None, *, longest: int = 200) -> str:
        """Return a text that is not too long."""
        value = self._value(name, default)
        if not isinstance(value, str) or len(value) > longest:
            raise self.wrong(name, f"is {value!r:.80}; it is a text of at most {longest} letters.")
        return value.strip()

    def inner(self, name: str) -> "Reader":
        """Return the object that stands under `name`; an empty one where there is none."""
        value = self._value(name, {})
        if not isinstance(value, Mapping):
            raise self.wrong(name, f"is {value!r:.80}; it is an object.")
        return Reader(value, f"{self.place}.{name}")

    def items(self, name: str) -> Iterator["Reader"]:
        """Yield the objects of the list that stands under `name`."""
        value = self._value(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, f"is {value!r:.80}; it is a list.")
        for index, item in enumerate(value):
            place = f"{self.place}.{name}[{index}]"
            if not isinstance(item, Mapping):
                raise _wrong(place, f"{place} is {item!r:.80}; it is an object.")
            yield Reader(item, place)

    def raw(self, name: str) -> Any:
        """Return whatever stands under `name`, for somebody else to read."""
        return self._value(name, None)

    def done(self) -> None:
        """Refuse what nobody has read.

        Raises:
            Invalid: With the first such name and the names there are.
        """
        extra = sorted(set(self.document) - self._read)
        if extra:
            place = f"{self.place}.{extra[0]}"
            raise Invalid(
                f"{self.place} has no setting {extra[0]!r}.",
                remedy=f"Leave it out. It has: {', '.join(sorted(self._read))}.",
                field=place,
                code="rollout.unknown_setting",
            )

    def wrong(self, name: str, what: str) -> Invalid:
        """Return the error that says what is wrong with the value of `name`."""
        return _wrong(f"{self.place}.{name}", f"{self.place}.{name} {what}")

    def _value(self, name: str, default: Any) -> Any:
        self._read.add(name)
        value = self.document.get(name)
        return default if value is None else value


def _wrong(place: str, sentence: str) -> Invalid:
    return Invalid(
        sentence,
        remedy="Put it right, or leave it out for what is usual.",
        field=place,
        code="rollout.bad_strategy",
    )
