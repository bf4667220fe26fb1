"""Protobuf's wire format, just enough to walk over a large message without holding it.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from dataclasses import dataclass

from apps.registry.domain.inspect.reading import Reader, broken

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
LONGEST_TEXT = 64 * 1024
DEEPEST = 64


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        number: Its tag in the `.proto` file.
        value: The integer of a varint or fixed field; 0 otherwise.
        start: Where the content of a length-delimited field begins.
        length: How long that content is; -1 for numbers.
    """

    number: int
    value: int = 0
    start: int = 0
    length: int = -1

    @property
    def end(self) -> int:
        """Return where the content ends."""
        return self.start + self.length


def fields(reader: Reader, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in [start, end); contents are passed over, not read.

    Raises:
        Unreadable: The bytes are not a message.
    """
    at = start
    while at < end:
        reader.seek(at)
        tag = reader.varint()
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise broken(reader.what, "it holds a field without a number")
        if wire == VARINT:
            yield_me = Field(number, value=reader.varint())
            at = reader.at
        elif wire == LENGTH:
            length = reader.varint()
            yield_me = Field(number, start=reader.at, length=length)
            at = reader.at + length
            if at > reader.end:
                reader.skip(length)  # says that the file ends too early
        elif wire in (FIXED64, FIXED32):
            yield_me = Field(number, value=reader.number("<Q" if wire == FIXED64 else "<I"))
            at = reader.at
        else:
            raise broken(reader.what, f"it holds a field of the unknown wire type {wire}")
        if at > end:
            raise broken(reader.what, "a field in it is longer than what holds it")
        yield yield_me


def text(reader: Reader, field: Field) -> str:
    """Return a string field, cut after 64 KB."""
    if field.length < 0:
        raise broken(reader.what, "it holds a number where a text belongs")
    reader.seek(field.start)
    return reader.take(min(field.length, LONGEST_TEXT)).decode("utf-8", "replace")


def signed(value: int) -> int:
    """Return a varint as the signed 64-bit integer that it encodes."""
    return value - (1 << 64) if value >= 1 << 63 else value


def inner(reader: Reader, field: Field) -> Iterator[Field]:
    """Yield the fields of the message that `field` holds."""
    if field.length < 0:
        raise broken(reader.what, "it holds a number where a message belongs")
    return fields(reader, field.start, field.end)
