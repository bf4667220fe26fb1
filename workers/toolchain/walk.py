"""Follows a pickle to its end without importing or calling anything that it names.

Reading opcodes alone loses its way in joblib's files, where raw arrays stand between them, and in
compressed ones: the public scanners stop at the first array and call the rest clean. This is
Python's own unpickler with every imported name replaced by an inert stand-in, so it sees exactly
the names that loading the file would import, in the order in which it would.
"""

import _compat_pickle
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import joblib.numpy_pickle_utils as joblib_files
import numpy as np

PICKLE_SUFFIXES = {".pkl", ".pickle", ".joblib", ".sav", ".dill", ".cloudpickle"}
ZIP_BOMB = 200  # unpacked bytes for each packed byte
LARGEST_MEMBER = 8 * 1024**3


class Malformed(Exception):
    """The file is not a pickle that could ever load."""


@dataclass
class Walk:
    """What one file would import.

    Attributes:
        names: (module, name), in the order of first use.
        library: The scikit-learn version the file says it was written with; "" when it does not.
        uses_joblib: Whether raw arrays stand between the opcodes.
    """

    names: list[tuple[str, str]] = field(default_factory=list)
    library: str = ""
    uses_joblib: bool = False

    def saw(self, module: str, name: str) -> None:
        """Remember a name."""
        if (module, name) not in self.names:
            self.names.append((module, name))


def pickles_in(path: Path) -> Iterator[tuple[str, Walk]]:
    """Walk every pickle in the file at `path`, with a name for each; nothing for other files.

    Raises:
        Malformed: It begins as a pickle and does not end as one.
    """
    if path.is_symlink() or not path.is_file():
        return
    if zipfile.is_zipfile(path) and path.suffix not in PICKLE_SUFFIXES:
        yield from _in_archive(path)
        return
    if path.suffix == ".npy" or _magic(path).startswith(b"\x93NUMPY"):
        if walk := _in_array(path):
            yield path.name, walk
        return
    if looks_like_pickle(path):
        yield path.name, follow(path)


def looks_like_pickle(path: Path) -> bool:
    """Return whether the file is, or claims to be, a pickle."""
    magic = _magic(path)
    return path.suffix in PICKLE_SUFFIXES or (magic[:1] == b"\x80" and magic[1:2] <= b"\x05")


def _magic(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(8)


def _in_archive(path: Path) -> Iterator[tuple[str, Walk]]:
    """Walk the pickles inside a zip archive, such as a PyTorch file."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > max(ZIP_BOMB * max(member.compress_size, 1), 1 << 20):
                raise Malformed(f"{path.name}:{member.filename} unpacks to far more than it is")
            with archive.open(member) as stream:
                head = stream.read(2)
            suffix = Path(member.filename).suffix
            if suffix in PICKLE_SUFFIXES or (
                head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"
            ):
                with archive.open(member) as stream:
                    yield f"{path.name}:{member.filename}", _walk(stream)  # type: ignore[arg-type]


def _in_array(path: Path) -> Walk | None:
    """Walk the pickle inside a NumPy file of Python objects, if it is one."""
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else (np.lib.format.read_array_header_2_0)
            )
            dtype = read(stream)[2]
        except ValueError as error:
            raise Malformed(f"{path.name} is not a NumPy file ({error})") from error
        return _walk(stream) if dtype.hasobject else None


def follow(path: Path) -> Walk:
    """Walk a pickle or joblib file, unpacking it on the way where it is compressed.

    Raises:
        Malformed: It is none.
    """
    with path.open("rb") as stream:
        try:
            opened = joblib_files._validate_fileobject_and_memmap(stream, str(path), None)
            with opened as (unpacked, _):
                if isinstance(unpacked, str):
                    raise Malformed(f"{path.name} is in a joblib format older than 0.10")
                return _walk(unpacked)
        except (OSError, EOFError, ValueError) as error:
            raise Malformed(f"{path.name} cannot be read to its end ({error})") from error


def _walk(stream: BinaryIO) -> Walk:
    walk = Walk()
    _Follower(stream, walk).follow()
    return walk


class _Inert:
    """Stands for an imported name, or for whatever calling one would have made."""

    origin = ""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take any arguments, and do nothing."""

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return _Inert()

    def __getattr__(self, name: str) -> "_Inert":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Inert()

    def __setstate__(self, state: Any) -> None:
        """Take any state, and do nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take what a dictionary would."""

    def append(self, value: Any) -> None:
        """Take what a list would."""

    def extend(self, values: Any) -> None:
        """Take what a list would."""

    def add(self, value: Any) -> None:
        """Take what a set would."""

    def update(self, values: Any) -> None:
        """Take what a set would."""


ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"


# The unpickler in Python, which typeshed does not describe: opcodes are methods in `dispatch`.
_PythonUnpickler: Any = pickle._Unpickler


class _Follower(_PythonUnpickler):  # type: ignore[misc]  # see above
    """Python's unpickler, in Python, importing nothing."""

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, stream: BinaryIO, walk: Walk) -> None:
        super().__init__(stream)
        self.handle, self.walk = stream, walk
        self.array = type("Inert", (_Inert,), {"origin": ARRAY})

    def follow(self) -> None:
        """Follow the pickle to its end.

        Raises:
            Malformed: It does not end as a pickle does.
        """
        try:
            self.load()
        except MemoryError:
            raise
        except Exception as error:
            raise Malformed(
                f"it breaks off or is no pickle ({type(error).__name__}: {error})"
            ) from error

    def find_class(self, module: Any, name: Any) -> Any:
        """Remember the name as the loader will read it, and answer with what does nothing."""
        if self.proto < 3:  # names of Python 2 stand for their successors
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[(module, name)]
            else:
                module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        self.walk.saw(str(module), str(name))
        if (module, name) == ("numpy", "dtype"):
            return np.dtype  # its constructor describes memory and runs nothing
        if f"{module}.{name}" == ARRAY:
            return self.array
        return type("Inert", (_Inert,), {"origin": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        """Answer a reference to something outside, such as a tensor's storage."""
        return _Inert()

    def get_extension(self, code: int) -> None:
        """Refuse codes whose meaning only the loading process would know."""
        self.walk.saw("copyreg", f"extension {code}")
        self.append(_Inert())

    def build(self) -> None:
        """Set a stand-in's state; behind a wrapped array, pass over the array's bytes."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.dtype):
            target.__setstate__(state)  # type: ignore[attr-defined]
        elif isinstance(target, _Inert):
            target.__setstate__(state)
            self._note_version(state)
            if target.origin == ARRAY and isinstance(state, dict):
                self.walk.uses_joblib = True
                self._pass_array(state)

    dispatch[pickle.BUILD[0]] = build

    def newobj(self) -> None:
        """Make an object of a class; of a stand-in for a class that the pickle itself makes."""
        arguments = self.stack.pop()
        made_of = self.stack.pop()
        is_class = isinstance(made_of, type)
        self.append(made_of.__new__(made_of, *arguments) if is_class else _Inert())

    dispatch[pickle.NEWOBJ[0]] = newobj

    def newobj_ex(self) -> None:
        """Make an object of a class, with named arguments."""
        named = self.stack.pop()
        arguments = self.stack.pop()
        made_of = self.stack.pop()
        is_class = isinstance(made_of, type)
        self.append(made_of.__new__(made_of, *arguments, **named) if is_class else _Inert())

    dispatch[pickle.NEWOBJ_EX[0]] = newobj_ex

    def _keep_array_out(self, count: int) -> None:
        """Refuse to hand the array wrapper's class to anything.

        Its instances make the reader pass over raw bytes. One that came about where we do not see
        it would let a file hide its true instructions behind harmless ones.
        """
        if any(item is self.array for item in (self.stack[-count:] if count else self.stack)):
            raise Malformed("it passes joblib's array class around, which no model does")

    def _note_version(self, state: Any) -> None:
        if isinstance(state, dict) and isinstance(state.get("_sklearn_version"), str):
            self.walk.library = state["_sklearn_version"][:40]

    def _pass_array(self, state: dict[str, Any]) -> None:
        """Pass over an array's raw bytes as joblib's reader does, or walk what it pickled."""
        dtype = state["dtype"]
        if not isinstance(dtype, np.dtype):
            raise Malformed("an array has no NumPy type")
        if dtype.hasobject:
            _Follower(self.handle, self.walk).follow()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self.handle.read(self.handle.read(1)[0])
        self._skip(int(np.prod(state["shape"], dtype=object)) * dtype.itemsize)

    def _skip(self, size: int) -> None:
        while size > 0:
            chunk = self.handle.read(min(size, 1 << 20))
            if not chunk:
                raise Malformed("an array breaks off")
            size -= len(chunk)


def _guarded(opcode: bytes, count: int) -> None:
    """Check what `opcode` puts into a container: its last `count` items, or all since the mark."""
    original = _Follower.dispatch[opcode[0]]

    def guarded(self: _Follower) -> None:
        self._keep_array_out(count)
        original(self)

    _Follower.dispatch[opcode[0]] = guarded


for _opcode, _count in {
    pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3, pickle.APPEND: 1, pickle.SETITEM: 2,
    pickle.BUILD: 1, pickle.TUPLE: 0, pickle.LIST: 0, pickle.DICT: 0, pickle.APPENDS: 0,
    pickle.SETITEMS: 0, pickle.ADDITEMS: 0, pickle.FROZENSET: 0,
}.items():  # fmt: skip
    _guarded(_opcode, _count)
