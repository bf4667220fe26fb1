"""Weights without a program: safetensors and GGUF."""

import json
from collections import Counter
from typing import Any, BinaryIO

from apps.registry.domain.inspect.reading import Reader, broken, truncated
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Format

SAFETENSORS = "a safetensors file"
GGUF = "a GGUF file"
LONGEST_HEADER = 100_000_000  # the format's own limit
MOST_VALUES = 2_000_000
MOST_PARAMETERS = 1 << 60
GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
GGUF_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 7: "<B", 10: "<Q", 11: "<q"}
GGUF_TEXT, GGUF_ARRAY = 8, 9
GGUF_TOLD = ("general.architecture", "general.name", "general.license", "general.file_type",
             "general.quantization_version", "general.size_label")  # fmt: skip


def looks_like_safetensors(head: bytes) -> bool:
    """Return whether a file that begins with `head` may be safetensors."""
    if len(head) < 10 or head[8:9] != b"{":
        return False
    return 2 <= int.from_bytes(head[:8], "little") <= LONGEST_HEADER


def safetensors(stream: BinaryIO) -> Inspected:
    """Return what the header of a safetensors file says.

    Raises:
        Unreadable: The header is not one, or the weights are not all there.
    """
    stream.seek(0)
    reader = Reader(stream, what=SAFETENSORS)
    length = reader.number("<Q")
    if length > LONGEST_HEADER:
        raise broken(SAFETENSORS, "its header is longer than the format allows")
    try:
        header = json.loads(reader.take(length))
    except (ValueError, RecursionError) as error:
        raise broken(SAFETENSORS, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise broken(SAFETENSORS, "its header is not an object")
    about = header.pop("__metadata__", None) or {}
    parameters, kinds, reach = 0, Counter[str](), 0
    for name, tensor in header.items():
        count, kind, end = _tensor(name, tensor)
        parameters, reach = parameters + count, max(reach, end)
        kinds[kind] += 1
    if reader.at + reach > reader.end:
        raise truncated(SAFETENSORS)
    facts: dict[str, Any] = {
        "tensors": len(header), "parameters": parameters, "datatypes": dict(kinds),
    }  # fmt: skip
    if isinstance(about, dict) and about:
        facts["metadata"] = {str(k)[:80]: str(v)[:500] for k, v in list(about.items())[:50]}
    return Inspected(Format.SAFETENSORS, framework="safetensors", facts=facts)


def _tensor(name: str, tensor: Any) -> tuple[int, str, int]:
    try:
        kind, shape, (start, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        count = 1
        for size in shape:
            count *= size
        good = isinstance(kind, str) and isinstance(count, int) and 0 <= start <= end < 1 << 62
    except (TypeError, KeyError, ValueError) as error:
        raise broken(
            SAFETENSORS, f"its tensor {name[:60]!r} has no type, shape or place"
        ) from error
    if not good or not 0 <= count < MOST_PARAMETERS:
        raise broken(SAFETENSORS, f"its tensor {name[:60]!r} has an impossible shape or place")
    return count, kind[:20], end


def gguf(stream: BinaryIO) -> Inspected:
    """Return what the header of a GGUF file says.

    Raises:
        Unreadable: It is not one.
    """
    stream.seek(0)
    reader = Reader(stream, what=GGUF)
    reader.take(4)
    version = reader.number("<I")
    if version not in (2, 3):
        raise broken(GGUF, f"its version {version} is not 2 or 3")
    tensors, pairs = reader.number("<Q"), reader.number("<Q")
    if tensors > MOST_VALUES or pairs > MOST_VALUES:
        raise broken(GGUF, "it announces millions of entries")
    told: dict[str, Any] = {}
    budget = [MOST_VALUES]
    for _ in range(pairs):
        key = _text(reader, limit=65_535)
        value = _value(reader, reader.number("<I"), budget)
        if value is not None and (key in GGUF_TOLD or key.endswith(".context_length")):
            told[key[:80]] = value
    parameters = sum(_tensor_info(reader) for _ in range(tensors))
    if tensors and reader.at >= reader.end:
        raise truncated(GGUF)
    architecture = str(told.get("general.architecture", ""))
    facts = {"gguf_version": version, "tensors": tensors, "parameters": parameters, **told}
    return Inspected(Format.GGUF, framework=f"GGUF {architecture}".strip()[:80], facts=facts)


def _tensor_info(reader: Reader) -> int:
    _text(reader, limit=65_535)
    dimensions = reader.number("<I")
    if dimensions > 8:
        raise broken(GGUF, "a tensor in it has more than 8 dimensions")
    count = 1
    for _ in range(dimensions):
        count *= reader.number("<Q")
    if count > MOST_PARAMETERS:
        raise broken(GGUF, "a tensor in it has an impossible shape")
    reader.skip(12)  # type and offset
    return count


def _value(reader: Reader, kind: int, budget: list[int], depth: int = 0) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth > 4:
        raise broken(GGUF, "its metadata has too many values")
    if kind == GGUF_TEXT:
        return _text(reader, limit=None)
    if kind == GGUF_ARRAY:
        inner, count = reader.number("<I"), reader.number("<Q")
        if inner in GGUF_SIZES:
            reader.skip(GGUF_SIZES[inner] * count)
            return None
        for _ in range(min(count, MOST_VALUES + 1)):
            _value(reader, inner, budget, depth + 1)
        return None
    if kind in GGUF_NUMBERS:
        return reader.number(GGUF_NUMBERS[kind])
    if kind in GGUF_SIZES:
        reader.skip(GGUF_SIZES[kind])
        return None
    raise broken(GGUF, f"it holds a value of the unknown type {kind}")


def _text(reader: Reader, *, limit: int | None) -> str:
    length = reader.number("<Q")
    if limit is not None and length > limit:
        raise broken(GGUF, "a name in it is too long")
    kept = min(length, 500)
    found = reader.take(kept).decode("utf-8", "replace")
    reader.skip(length - kept)
    return found
