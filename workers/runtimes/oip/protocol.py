"""Tensors of the Open Inference Protocol to numpy and back. Pure: bytes and arrays in and out.

What the protocol leaves open is decided here:

- Data may be nested or flat. Datatypes must be the model's own: nothing is cast, and a value that
  does not fit its datatype is refused, never rounded or wrapped.
- JSON has no NaN. Here "NaN", "Infinity" and "-Infinity" stand for them, in and out, as in
  protobuf's JSON: the number parsers of most languages read these strings back.
- Text is UTF-8. Bytes that are not are possible in the binary extension only.
- The binary tensor extension is spoken: https://github.com/kserve/open-inference-protocol and
  https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

Array = NDArray[Any]

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Refused(Exception):
    """A request cannot be answered, and the caller is told why in one sentence."""

    def __init__(self, sentence: str, *, status: int = 400) -> None:
        """Say why, and with which HTTP status."""
        super().__init__(sentence)
        self.sentence, self.status = sentence, status


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model says of one of its inputs or outputs; -1 in the shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        """Return it as the protocol's metadata writes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def __str__(self) -> str:
        """Describe it in a sentence: FP32 of shape [-1, 30]."""
        return f"{self.datatype} of shape {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A parsed and validated request.

    Attributes:
        inputs: One array for each of the model's inputs, in the model's order.
        wanted: The outputs to return, and whether each is wanted in binary.
        id: The caller's, as text; None when there was none.
    """

    inputs: dict[str, Array]
    wanted: tuple[tuple[str, bool], ...]
    id: str | None


def datatype_of(array: Array) -> str:
    """Return the protocol's name for the type of `array`'s elements."""
    return _NAMES.get(array.dtype, "BYTES")


def read_request(
    body: bytes,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    header_length: int | None = None,
) -> InferRequest:
    """Parse the body of an inference request.

    Args:
        body: JSON, followed by binary tensors when `header_length` is given.
        inputs: What the model takes.
        outputs: What it gives.
        header_length: The length of the JSON part, from `Inference-Header-Content-Length`.

    Raises:
        Refused: With a sentence that names the input, what was given and what is expected.
    """
    document, tail = _split(body, header_length)
    request_id = document.get("id")
    return InferRequest(
        inputs=_inputs(_entries(document, "inputs"), inputs, memoryview(tail)),
        wanted=_wanted(document, outputs),
        id=None if request_id is None else str(request_id),
    )


def write_response(
    outputs: Mapping[str, Array],
    *,
    request: InferRequest,
    model: str,
    version: str,
) -> tuple[bytes, int | None]:
    """Return the body of the answer, and the length of its JSON part when binary follows it."""
    entries, tail = [], []
    for name, binary in request.wanted:
        array = outputs[name]
        entry: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array),
            "shape": list(array.shape),
        }
        if binary:
            content = to_bytes(array)
            entry["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
        else:
            entry["data"] = to_json(array, name)
        entries.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    document["outputs"] = entries
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((head, *tail)), len(head)) if tail else (head, None)


def to_json(array: Array, name: str) -> Any:
    """Return the elements of `array`, flat and row by row, as orjson can write them."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        return [v if math.isfinite(v) else spell(v) for v in flat.tolist()]
    if flat.dtype in _NAMES and flat.dtype != np.object_:
        return flat
    return [_text(value, name) for value in flat.tolist()]


def spell(value: float) -> str:
    """Return how a number that is not finite stands in JSON."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def to_bytes(array: Array) -> bytes:
    """Return the elements of `array` as the binary extension lays them out."""
    if array.dtype in _NAMES and array.dtype != np.object_:
        return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    elements = [v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1).tolist()]
    return b"".join(struct.pack("<I", len(e)) + e for e in elements)


def from_bytes(content: memoryview, spec: TensorSpec, shape: Sequence[int]) -> Array:
    """Return the array that the binary extension wrote as `content`."""
    if spec.datatype == "BYTES":
        elements = np.empty(math.prod(shape), dtype=np.object_)
        elements[:] = _strings(content, spec, len(elements))
        return elements.reshape(shape)
    dtype = DATATYPES[spec.datatype]
    needed = math.prod(shape) * dtype.itemsize
    if len(content) != needed:
        raise Refused(
            f"The input “{spec.name}” has {len(content)} bytes; "
            f"{spec.datatype} of shape {list(shape)} needs {needed}."
        )
    if spec.datatype == "BOOL" and bytes(content).strip(b"\0\1"):
        raise Refused(f"The input “{spec.name}” is BOOL and holds a byte that is neither 0 nor 1.")
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _split(body: bytes, header_length: int | None) -> tuple[dict[str, Any], bytes]:
    if not body:
        raise Refused('The body is empty; send a JSON object with "inputs".')
    if header_length is not None and not 0 < header_length <= len(body):
        raise Refused(
            f"Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes."
        )
    head = body if header_length is None else body[:header_length]
    try:
        document = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise Refused(f"The body is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise Refused('The body is not a JSON object; send a JSON object with "inputs".')
    return document, b"" if header_length is None else body[header_length:]


def _entries(document: dict[str, Any], field: str) -> list[dict[str, Any]]:
    entries = document.get(field)
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise Refused(f"“{field}” must be a list of JSON objects.")
    return entries


def _inputs(
    entries: list[dict[str, Any]], specs: Sequence[TensorSpec], tail: memoryview
) -> dict[str, Array]:
    expected = {spec.name: spec for spec in specs}
    found: dict[str, Array] = {}
    for entry in entries:
        name = entry.get("name")
        spec = expected.get(name) if isinstance(name, str) else None
        if spec is None:
            raise Refused(f"There is no input called “{name}”; this model takes {_listed(specs)}.")
        if spec.name in found:
            raise Refused(f"The input “{spec.name}” is given twice.")
        size = _binary_size(entry, spec, len(tail))
        if size is None:
            found[spec.name] = _from_json(entry, spec)
        else:
            found[spec.name] = from_bytes(tail[:size], spec, _shape(entry, spec))
            tail = tail[size:]
    if len(tail):
        raise Refused(f"{len(tail)} bytes follow the last binary input; no input claims them.")
    missing = [spec for spec in specs if spec.name not in found]
    if missing:
        raise Refused(
            f"The input “{missing[0].name}” is missing; this model takes {_listed(specs)}."
        )
    return {spec.name: found[spec.name] for spec in specs}


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"“{spec.name}”: {spec}" for spec in specs)


def _binary_size(entry: dict[str, Any], spec: TensorSpec, left: int) -> int | None:
    parameters = entry.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= left:
        raise Refused(
            f"The input “{spec.name}” says binary_data_size {size!r}; {left} bytes are left. "
            "Send Inference-Header-Content-Length with binary tensors."
        )
    return size


def _shape(entry: dict[str, Any], spec: TensorSpec) -> list[int]:
    shape, datatype = entry.get("shape"), entry.get("datatype")
    if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
        raise Refused(
            f"The input “{spec.name}” has the shape {shape!r}; "
            f"this model expects {spec}, where -1 is any size."
        )
    fits = len(shape) == len(spec.shape) and all(
        given == expected or expected < 0
        for given, expected in zip(shape, spec.shape, strict=True)
    )
    if datatype != spec.datatype or not fits:
        raise Refused(
            f"The input “{spec.name}” was given as {datatype} of shape {shape}; "
            f"this model expects {spec}, where -1 is any size."
        )
    return shape


def _from_json(entry: dict[str, Any], spec: TensorSpec) -> Array:
    shape, data = _shape(entry, spec), entry.get("data")
    if not isinstance(data, list):
        raise Refused(f'The input “{spec.name}” has no list called "data".')
    array = _strings_of(data, spec) if spec.datatype == "BYTES" else _numbers_of(data, spec)
    if array.size != math.prod(shape):
        raise Refused(
            f"The input “{spec.name}” has {array.size} values; "
            f"its shape {shape} needs {math.prod(shape)}."
        )
    return array.reshape(shape)


def _numbers_of(data: list[Any], spec: TensorSpec) -> Array:
    dtype = DATATYPES[spec.datatype]
    try:
        # Without a dtype first: with one, numpy would quietly cut 1.5 to 1 and read "7" as 7.
        found = np.array(data)
    except ValueError as error:
        raise Refused(f"The data of the input “{spec.name}” is ragged.") from error
    if found.size == 0:
        return found.astype(dtype)
    if found.dtype.kind in _FITTING[dtype.kind]:
        return _exactly(found, dtype, spec)
    return _one_by_one(data, dtype, spec)


# The kinds of array that JSON of the right type becomes, by the kind of the model's datatype.
_FITTING = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}


def _exactly(found: Array, dtype: np.dtype[Any], spec: TensorSpec) -> Array:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        for edge in (found.min(), found.max()):
            if not limits.min <= int(edge) <= limits.max:
                raise _unfit(edge, spec)
        return found.astype(dtype)
    try:
        with np.errstate(over="raise"):
            return found.astype(dtype)
    except FloatingPointError as error:
        raise _unfit(np.abs(found).max(), spec) from error


def _one_by_one(data: list[Any], dtype: np.dtype[Any], spec: TensorSpec) -> Array:
    """Convert what numpy would have guessed wrongly: mixed types, spelt NaN, large numbers."""
    elements = _flat(data, spec)
    for place, value in enumerate(elements):
        if dtype.kind == "f" and isinstance(value, str) and value in _NOT_FINITE:
            elements[place] = _NOT_FINITE[value]
        elif type(value) not in _PYTHON[dtype.kind]:
            raise _unfit(value, spec)
    if dtype.kind == "f":
        return _exactly(elements.astype(np.float64), dtype, spec)
    try:
        return np.array(elements.tolist(), dtype=dtype)
    except OverflowError as error:
        raise Refused(f"The input “{spec.name}” holds a number beyond {spec.datatype}.") from error


_PYTHON: dict[str, tuple[type, ...]] = {"b": (bool,), "u": (int,), "i": (int,), "f": (int, float)}


def _flat(data: list[Any], spec: TensorSpec) -> Array:
    try:
        return np.array(data, dtype=np.object_).reshape(-1)
    except ValueError as error:
        raise Refused(f"The data of the input “{spec.name}” is ragged.") from error


def _unfit(value: Any, spec: TensorSpec) -> Refused:
    written = value.item() if isinstance(value, np.generic) else value
    shown = repr(written) if not isinstance(written, str) else f"“{written[:80]}”"
    return Refused(f"The input “{spec.name}” holds {shown[:100]}, which is not {spec.datatype}.")


def _strings_of(data: list[Any], spec: TensorSpec) -> Array:
    elements = _flat(data, spec)
    for value in elements:
        if type(value) is not str:
            raise _unfit(value, spec)
    return elements


def _strings(content: memoryview, spec: TensorSpec, count: int) -> list[str]:
    found, at = [], 0
    while at < len(content):
        start = at + 4
        length = struct.unpack_from("<I", content, at)[0] if start <= len(content) else 0
        at = start + length
        if at > len(content):
            raise Refused(f"The binary data of the input “{spec.name}” is cut off.")
        try:
            found.append(str(content[start:at], "utf-8"))
        except UnicodeDecodeError as error:
            raise Refused(f"The input “{spec.name}” holds text that is not UTF-8.") from error
    if len(found) != count:
        raise Refused(f"The input “{spec.name}” has {len(found)} values; its shape needs {count}.")
    return found


def _wanted(
    document: dict[str, Any], outputs: Sequence[TensorSpec]
) -> tuple[tuple[str, bool], ...]:
    by_default = _flag(document, "binary_data_output", default=False)
    if not document.get("outputs"):
        return tuple((spec.name, by_default) for spec in outputs)
    known = {spec.name for spec in outputs}
    wanted = {}
    for entry in _entries(document, "outputs"):
        name = entry.get("name")
        if name not in known:
            raise Refused(
                f"There is no output called “{name}”; this model gives {_listed(outputs)}."
            )
        wanted[name] = _flag(entry, "binary_data", default=by_default)
    return tuple(wanted.items())


def _flag(document: dict[str, Any], name: str, *, default: bool) -> bool:
    parameters = document.get("parameters")
    value = parameters.get(name, default) if isinstance(parameters, dict) else default
    if not isinstance(value, bool):
        raise Refused(f"The parameter “{name}” is {value!r}; it must be true or false.")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Refused(
            f"The output “{name}” holds bytes that are not UTF-8, which JSON cannot carry; "
            'ask for it with the parameter "binary_data": true.'
        ) from error
