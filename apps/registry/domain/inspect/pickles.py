"""Reading pickles without loading them: a machine that builds inert values.

`pickle.load` imports and calls whatever the bytes name. This reader walks over the same
opcodes and builds descriptions instead: a `Global` where a load would import, a `Call` where
it would call. Long texts and arrays are passed over, so memory stays small. It also follows
joblib, which puts the raw bytes of arrays between the opcodes.
"""

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from apps.registry.domain.inspect.reading import Reader, Unreadable, broken

WHAT = "a pickle"
MOST_OPCODES = 2_000_000
MOST_KEPT = 32 * 1024**2  # bytes of texts and arrays in one reading
MOST_GLOBALS = 5_000
KEPT = 64 * 1024  # bytes of a text or an array that are kept; longer ones are passed over
DEEPEST = 40  # pickles inside a joblib file
WRAPPERS = ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")


@dataclass(frozen=True)
class Global:
    """A name that loading would import."""

    module: str
    name: str

    def __str__(self) -> str:
        """Write it as Python does."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """An object that loading would make by calling `target`."""

    target: Any
    args: Any = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Array:
    """A NumPy array.

    Attributes:
        dtype: As NumPy writes it without the byte order ("f8", "U10", "O8").
        shape: Its sizes.
        data: Its bytes, where they are few; None where they were passed over.
        objects: What a nested pickle held, for arrays of objects.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | None = None
    objects: Any = None


@dataclass(frozen=True)
class Skipped:
    """A text or bytes too long to keep."""

    length: int


@dataclass
class Pickled:
    """What a pickle holds.

    Attributes:
        value: The inert description of the object; None when reading stopped early.
        names: Every global that loading would import, in order of appearance.
        whole: False when the pickle was too long to read to its end.
        protocol: The pickle protocol.
    """

    value: Any
    names: list[Global]
    whole: bool
    protocol: int


CODES = {opcode.code: opcode for opcode in pickletools.opcodes}


class _Enough(Exception):
    """The pickle is longer than is worth reading here."""


class _Mark:
    pass


MARK = _Mark()


def read(stream: BinaryIO) -> Pickled:
    """Read the pickle that `stream` begins with.

    Raises:
        Unreadable: The bytes are not a whole pickle.
    """
    stream.seek(0)
    machine = _Machine(Reader(stream, what=WHAT))
    try:
        value, whole = machine.run(), True
    except _Enough:
        value, whole = None, False
    except Unreadable:
        raise
    except (
        IndexError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise broken(WHAT, "its opcodes do not fit together") from error
    return Pickled(value, list(machine.names), whole, machine.protocol)


class _Machine:
    """One run over one pickle; nested pickles share the names and the budget."""

    def __init__(self, reader: Reader, parent: "_Machine | None" = None) -> None:
        self.reader = reader
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.protocol = 0
        self.depth: int = parent.depth + 1 if parent else 0
        self.names: dict[Global, None] = parent.names if parent else {}
        self.budget: list[int] = parent.budget if parent else [MOST_OPCODES]
        self.room: list[int] = parent.room if parent else [MOST_KEPT]
        if self.depth > DEEPEST:
            raise broken(WHAT, "pickles lie in it too deeply")

    def run(self) -> Any:
        reader = self.reader
        while True:
            self.budget[0] -= 1
            if self.budget[0] < 0:
                raise _Enough
            opcode = CODES.get(reader.take(1).decode("latin-1"))
            if opcode is None:
                raise broken(WHAT, "it holds a byte that is no opcode")
            argument = self._argument(opcode)
            if opcode.name == "STOP":
                return self.stack.pop()
            handler = HANDLERS.get(opcode.name)
            if handler is not None:
                handler(self, argument)
            elif opcode.name not in IGNORED:
                self.stack.append(argument)

    def _argument(self, opcode: pickletools.OpcodeInfo) -> Any:
        name = opcode.name
        if name in COUNTED:
            return self._counted(name)
        if opcode.arg is None:
            return None
        start = self.reader.at
        # Every remaining argument is short, or one line.
        window = _Window(self.reader)
        value = opcode.arg.reader(window)  # type: ignore[arg-type]  # reads as a file does
        if self.reader.at < start:
            raise broken(WHAT, "an argument in it is malformed")
        return value

    def _counted(self, name: str) -> Any:
        kind = COUNTED[name]
        length = self.reader.number(kind)
        if not self._keeps(length):
            self.reader.skip(length)
            return Skipped(length)
        data = self.reader.take(length)
        if name.endswith("UNICODE") or name.endswith("UNICODE8"):
            return data.decode("utf-8", "replace")
        return data.decode("latin-1") if name.endswith("STRING") else data

    def _keeps(self, length: int) -> bool:
        if length > min(KEPT, self.room[0]):
            return False
        self.room[0] -= max(length, 0)
        return True

    # What follows are the opcodes that do more than push a constant.

    def proto(self, version: Any) -> None:
        self.protocol = int(version)

    def mark(self, _: Any) -> None:
        self.stack.append(MARK)

    def pop(self, _: Any) -> None:
        self.stack.pop()

    def to_mark(self, _: Any = None) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise IndexError
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def put(self, index: Any) -> None:
        self.memo[int(index)] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: Any) -> None:
        self.stack.append(self.memo[int(index)])

    def empty_list(self, _: Any) -> None:
        self.stack.append([])

    def empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def make_list(self, _: Any) -> None:
        self.stack.append(self.to_mark())

    def make_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.to_mark()))

    def make_dict(self, _: Any) -> None:
        items = self.to_mark()
        found: dict[Any, Any] = {}
        for key, value in zip(items[::2], items[1::2], strict=False):
            _set(found, key, value)
        self.stack.append(found)

    def some_tuple(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        if len(found) != count or any(part is MARK for part in found):
            raise IndexError
        del self.stack[-count:]
        self.stack.append(found)

    def append(self, _: Any) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def appends(self, _: Any) -> None:
        values = self.to_mark()
        _extend(self.stack[-1], values)

    def setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set(self.stack[-1], key, value)

    def setitems(self, _: Any) -> None:
        items = self.to_mark()
        for key, value in zip(items[::2], items[1::2], strict=False):
            _set(self.stack[-1], key, value)

    def name(self, module_and_name: Any) -> None:
        module, _, name = str(module_and_name).partition(" ")
        self._named(module, name)

    def stack_name(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a global's name is no text")
        self._named(module, name)

    def _named(self, module: str, name: str) -> None:
        found = Global(module[:200], name[:200])
        self.names[found] = None
        if len(self.names) > MOST_GLOBALS:
            raise _Enough
        self.stack.append(found)

    def reduce(self, _: Any) -> None:
        args, target = self.stack.pop(), self.stack.pop()
        self.stack.append(Call(target, args))

    def newobj_ex(self, _: Any) -> None:
        kwargs, args, target = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(Call(target, args, pairs=list(_pairs(kwargs))))

    def inst(self, module_and_name: Any) -> None:
        args = self.to_mark()
        self.name(module_and_name)
        self.stack.append(Call(self.stack.pop(), tuple(args)))

    def obj(self, _: Any) -> None:
        target, *args = self.to_mark()
        self.stack.append(Call(target, tuple(args)))

    def persistent(self, _: Any) -> None:
        self.stack.append(Call(Global("", "persistent_load"), (self.stack.pop(),)))

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if not isinstance(made, Call):
            return
        made.state = state
        if _is_wrapper(made):
            self.stack[-1] = self._joblib_array(state)

    def _joblib_array(self, state: Any) -> Array:
        """Pass over the array that joblib wrote here, between the opcodes."""
        dtype, shape = dtype_of(state["dtype"]), tuple(int(size) for size in state["shape"])
        if dtype.startswith("O"):
            return Array(dtype, shape, objects=_Machine(self.reader, self).run())
        if state.get("numpy_array_alignment_bytes") is not None:
            self.reader.skip(self.reader.take(1)[0])
        length = itemsize_of(dtype)
        for size in shape:
            if size < 0:
                raise broken(WHAT, "an array in it has a negative size")
            length *= size
        if not self._keeps(length):
            self.reader.skip(length)
            return Array(dtype, shape)
        return Array(dtype, shape, data=self.reader.take(length))


class _Window:
    """The two methods of a file that pickletools' argument readers use, with a limit."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def read(self, count: int) -> bytes:
        return self.reader.take(count)

    def readline(self) -> bytes:
        line = self.reader.stream.readline(KEPT)
        self.reader.at += len(line)
        if not line.endswith(b"\n"):
            raise broken(WHAT, "a line in it has no end")
        return line


def dtype_of(value: Any) -> str:
    """Return the type code of an inert `numpy.dtype` ("f8"); "" when it is none."""
    if isinstance(value, Call) and isinstance(value.args, tuple) and value.args:
        if isinstance(value.target, Global) and value.target.name == "dtype":
            code = value.args[0]
            return code.lstrip("<>|=")[:20] if isinstance(code, str) else ""
        if isinstance(value.target, Global) and value.target.name.endswith("DType"):
            return str(value.target.name)
    return ""


def itemsize_of(dtype: str) -> int:
    """Return how many bytes one element takes.

    Raises:
        Unreadable: The type is unknown, so what follows cannot be passed over.
    """
    found = re.fullmatch(r"([biufcSUVMmO?])(\d*)(\[.*\])?", dtype)
    if found is None:
        raise broken(WHAT, f"an array in it has the unknown type {dtype[:20]!r}")
    kind, width = found.group(1), int(found.group(2) or (1 if found.group(1) in "b?" else 8))
    return width * 4 if kind == "U" else width


def array_of(value: Any) -> Array | None:
    """Return `value` as an array, if it describes one."""
    if isinstance(value, Array):
        return value
    if not isinstance(value, Call) or not isinstance(value.target, Global):
        return None
    try:
        if value.target.name == "_reconstruct" and value.state is not None:
            _, shape, dtype, _, data = value.state
            return _array(dtype, shape, data)
        if value.target.name == "_frombuffer":
            data, dtype, shape = value.args[:3]
            return _array(dtype, shape, data)
    except (TypeError, ValueError):
        return None
    return None


def _array(dtype: Any, shape: Any, data: Any) -> Array:
    kind = dtype_of(dtype)
    sizes = tuple(int(size) for size in shape)
    if kind.startswith("O"):
        return Array(kind, sizes, objects=data)
    if isinstance(data, Call):  # a bytearray, or bytes that an old protocol wrote as text
        data = next(iter(data.args), None) if isinstance(data.args, tuple) else None
    if isinstance(data, str):
        data = data.encode("latin-1", "replace")
    return Array(kind, sizes, data=data if isinstance(data, bytes) else None)


def _is_wrapper(made: Call) -> bool:
    target = made.target
    if isinstance(made.args, tuple) and made.args and isinstance(made.args[0], Global):
        target = made.args[0] if "reconstructor" in str(target) else target
    return (
        isinstance(target, Global)
        and target.module in WRAPPERS
        and target.name == "NumpyArrayWrapper"
        and isinstance(made.state, dict)
    )


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(values)
    elif isinstance(target, Call):
        target.items.extend(values)


def _set(target: Any, key: Any, value: Any) -> None:
    if isinstance(target, dict):
        # Any other key is of no interest, and hashing a deep tuple would overflow the C stack.
        if key is None or isinstance(key, str | bytes | int | float | Global):
            target[key] = value
    elif isinstance(target, Call):
        target.pairs.append((key, value))


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


COUNTED = {
    "BINSTRING": "<i", "SHORT_BINSTRING": "<B", "BINUNICODE": "<I", "SHORT_BINUNICODE": "<B",
    "BINUNICODE8": "<Q", "BINBYTES": "<I", "SHORT_BINBYTES": "<B", "BINBYTES8": "<Q",
    "BYTEARRAY8": "<Q", "LONG4": "<i", "LONG1": "<B",
}  # fmt: skip
IGNORED = {"FRAME", "READONLY_BUFFER"}
Handler = Callable[[_Machine, Any], None]
HANDLERS: dict[str, Handler] = {
    "PROTO": _Machine.proto, "MARK": _Machine.mark, "POP": _Machine.pop,
    "POP_MARK": lambda m, _: (m.to_mark(), None)[1], "DUP": _Machine.dup,
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get,
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_LIST": _Machine.empty_list, "EMPTY_DICT": _Machine.empty_dict,
    "EMPTY_TUPLE": _Machine.empty_tuple, "EMPTY_SET": _Machine.empty_list,
    "LIST": _Machine.make_list, "TUPLE": _Machine.make_tuple, "DICT": _Machine.make_dict,
    "FROZENSET": _Machine.make_list,
    "TUPLE1": lambda m, _: m.some_tuple(1), "TUPLE2": lambda m, _: m.some_tuple(2),
    "TUPLE3": lambda m, _: m.some_tuple(3),
    "APPEND": _Machine.append, "APPENDS": _Machine.appends, "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.setitem, "SETITEMS": _Machine.setitems,
    "GLOBAL": _Machine.name, "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce, "NEWOBJ": _Machine.reduce, "NEWOBJ_EX": _Machine.newobj_ex,
    "INST": _Machine.inst, "OBJ": _Machine.obj, "BUILD": _Machine.build,
    "PERSID": lambda m, a: m.stack.append(Call(Global("", "persistent_load"), (a,))),
    "BINPERSID": _Machine.persistent,
    "EXT1": lambda m, a: m._named("copyreg", f"extension {a}"),
    "EXT2": lambda m, a: m._named("copyreg", f"extension {a}"),
    "EXT4": lambda m, a: m._named("copyreg", f"extension {a}"),
    "NEXT_BUFFER": lambda m, _: m.stack.append(Skipped(0)),
    "LONG1": lambda m, a: m.stack.append(_long(a)),
    "LONG4": lambda m, a: m.stack.append(_long(a)),
}  # fmt: skip


def _long(data: Any) -> Any:
    return int.from_bytes(data, "little", signed=True) if isinstance(data, bytes) else data
