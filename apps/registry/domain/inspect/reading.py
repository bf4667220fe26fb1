"""Reading a stream carefully: exactly so many bytes, or a clear error."""

import struct
from typing import BinaryIO

from controlplane.kernel.errors import Invalid


class Unreadable(Invalid):
    """The bytes are not what their beginning promises."""

    code = "model.unreadable"


class Truncated(Unreadable):
    """The bytes end too early."""

    code = "model.truncated"


def truncated(what: str) -> Truncated:
    """Return the error for a file that ends in the middle of `what`."""
    return Truncated(
        f"The file begins as {what} but ends too early.",
        remedy="Upload it again from a complete copy.",
        field="upload",
    )


def broken(what: str, why: str) -> Unreadable:
    """Return the error for a file that begins as `what` and goes wrong."""
    return Unreadable(
        f"The file begins as {what}, but {why}.",
        remedy="Write the model again with the library that made it, and upload that file.",
        field="upload",
    )


class Reader:
    """A position in a stream, and the end it may not pass.

    Attributes:
        stream: Seekable.
        end: The first position that is not part of what is read.
        what: What the file began as, for errors ("an ONNX model").
    """

    def __init__(self, stream: BinaryIO, *, what: str, end: int | None = None) -> None:
        """Read `stream` from where it stands."""
        self.stream, self.what = stream, what
        self.at = stream.tell()
        self.end = size_of(stream) if end is None else end

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count < 0 or self.at + count > self.end:
            raise truncated(self.what)
        found = self.stream.read(count)
        if len(found) != count:
            raise truncated(self.what)
        self.at += count
        return found

    def skip(self, count: int) -> None:
        """Pass over the next `count` bytes."""
        if count < 0 or self.at + count > self.end:
            raise truncated(self.what)
        self.at += count
        self.stream.seek(self.at)

    def seek(self, position: int) -> None:
        """Go to `position`."""
        if not 0 <= position <= self.end:
            raise truncated(self.what)
        self.at = position
        self.stream.seek(position)

    def number(self, kind: str) -> int:
        """Return the next integer, of `struct` format `kind` ("<Q")."""
        return int(struct.unpack(kind, self.take(struct.calcsize(kind)))[0])

    def varint(self) -> int:
        """Return the next base-128 integer (protobuf's)."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF
            shift += 7
            if shift > 63:
                raise broken(self.what, "a number in it has no end")


def size_of(stream: BinaryIO) -> int:
    """Return how long `stream` is, leaving its position where it was."""
    here = stream.tell()
    end = stream.seek(0, 2)
    stream.seek(here)
    return end
