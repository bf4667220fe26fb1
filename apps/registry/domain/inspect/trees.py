"""Boosted trees in their libraries' own formats: XGBoost (JSON, UBJSON) and LightGBM (text)."""

import json
import re
import struct
from typing import Any, BinaryIO

from apps.registry.domain.inspect.reading import Reader, broken, size_of, truncated
from apps.registry.domain.inspected import Inspected, Tensor
from apps.registry.domain.kinds import Format

XGBOOST = "an XGBoost model"
LIGHTGBM = "a LightGBM model"
LARGEST_JSON = 64 * 1024**2
LONGEST_LINE = 16 * 1024**2
MOST_VALUES = 20_000_000
DEEPEST = 64


def looks_like_xgboost_json(head: bytes) -> bool:
    """Return whether `head` begins an XGBoost model in JSON."""
    return bool(re.match(rb'\s*\{\s*"(learner|version|Config)"', head))


def looks_like_xgboost_ubj(head: bytes) -> bool:
    """Return whether `head` begins an XGBoost model in UBJSON."""
    return head[:1] == b"{" and head[1:2] in b"iUIlL" and b"learner" in head[:24]


def xgboost_json(stream: BinaryIO) -> Inspected:
    """Return what an XGBoost model in JSON says.

    Raises:
        Unreadable: It is not a whole one.
    """
    stream.seek(0)
    if size_of(stream) > LARGEST_JSON:
        return _xgboost(_ends(stream))
    try:
        document = json.loads(stream.read())
    except RecursionError as error:
        raise broken(XGBOOST, "it is nested too deeply") from error
    except ValueError as error:
        raise truncated(XGBOOST) from error
    return _xgboost(document)


def _ends(stream: BinaryIO) -> dict[str, Any]:
    """Return the facts at both ends of a model too large to parse; the trees lie between."""
    size = size_of(stream)
    stream.seek(0)
    head = stream.read(4 * 1024**2).decode("utf-8", "replace")
    stream.seek(max(0, size - 64 * 1024))
    tail = stream.read().decode("utf-8", "replace").rstrip()
    if not tail.endswith("}"):
        raise truncated(XGBOOST)
    parameters = dict(re.findall(r'"(num_feature|num_class|num_target)":\s*"(\d+)"', tail))
    objective = re.search(r'"objective":\{[^{}]*(?:\{[^{}]*\}[^{}]*)*"name":\s*"([^"]+)"', tail)
    version = re.search(r'"version":\s*\[(\d+),\s*(\d+),\s*(\d+)\]', head + tail)
    names = re.search(r'"feature_names":\s*(\[[^\]]*\])', head)
    return {
        "learner": {
            "learner_model_param": parameters,
            "objective": {"name": objective.group(1) if objective else ""},
            "feature_names": _list(names.group(1)) if names else [],
        },
        "version": [int(v) for v in version.groups()] if version else [],
    }


def _list(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def _xgboost(document: Any) -> Inspected:
    try:
        learner = document["learner"]
        parameters = learner["learner_model_param"]
        features = int(parameters["num_feature"])
        classes = int(parameters.get("num_class", 0))
        targets = int(parameters.get("num_target", 1))
        objective = str(learner["objective"]["name"])[:80]
        version = ".".join(str(int(part))[:9] for part in document.get("version", [])[:4])
        names = [str(n)[:250] for n in learner.get("feature_names") or []]
        booster = str((learner.get("gradient_booster") or {}).get("name", ""))[:40]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise broken(XGBOOST, "it names no features, parameters or objective") from error
    if not 0 < features < 1 << 31 or not (0 <= classes < 1 << 31 and 0 <= targets < 1 << 31):
        raise broken(XGBOOST, f"it has {features} features")
    facts: dict[str, Any] = {"features": features, "objective": objective, "booster": booster}
    if classes:
        facts["classes"] = classes
    if names:
        facts["feature_names"] = names[:2000]
    columns = _xgboost_columns(objective, classes, targets)
    shape = [-1] if columns == 1 else [-1, columns]
    output: Tensor = {"name": "prediction", "datatype": "FP32", "shape": shape}
    return Inspected(
        Format.XGBOOST,
        framework=f"XGBoost {version}".strip(),
        inputs=[{"name": "input", "datatype": "FP32", "shape": [-1, features]}],
        outputs=[output],
        facts=facts,
    )


def _xgboost_columns(objective: str, classes: int, targets: int) -> int:
    if objective == "multi:softmax":
        return 1
    return max(classes, targets, 1)


def xgboost_ubj(stream: BinaryIO) -> Inspected:
    """Return what an XGBoost model in UBJSON says.

    Raises:
        Unreadable: It is not a whole one.
    """
    stream.seek(0)
    reader = Reader(stream, what=XGBOOST)
    return _xgboost(_Ubj(reader).value(reader.take(1), 0))


class _Ubj:
    """A reader of UBJSON (https://ubjson.org) that passes over arrays of numbers."""

    FIXED = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}  # noqa: RUF012
    FLOATS = {b"d": ">f", b"D": ">d"}  # noqa: RUF012
    WORDS = {b"Z": None, b"T": True, b"F": False, b"N": None}  # noqa: RUF012

    def __init__(self, reader: Reader) -> None:
        self.reader, self.budget = reader, MOST_VALUES

    def value(self, marker: bytes, depth: int) -> Any:
        self.budget -= 1
        if depth > DEEPEST or self.budget < 0:
            raise broken(XGBOOST, "it is nested too deeply or has too many values")
        if marker in self.FIXED:
            return self.reader.number(self.FIXED[marker])
        if marker in self.FLOATS:
            kind = self.FLOATS[marker]
            return struct.unpack(kind, self.reader.take(struct.calcsize(kind)))[0]
        if marker in self.WORDS:
            return self.WORDS[marker]
        if marker in (b"S", b"H"):
            return self._text()
        if marker == b"C":
            return self.reader.take(1).decode("latin-1")
        if marker == b"[":
            return self._array(depth)
        if marker == b"{":
            return self._object(depth)
        raise broken(XGBOOST, f"it holds a value of the unknown type {marker!r}")

    def _text(self) -> str:
        length = self._length()
        found = self.reader.take(min(length, 100_000)).decode("utf-8", "replace")
        self.reader.skip(length - min(length, 100_000))
        return found

    def _length(self) -> int:
        marker = self.reader.take(1)
        if marker not in self.FIXED:
            raise broken(XGBOOST, "a length in it is no number")
        length = self.reader.number(self.FIXED[marker])
        if length < 0:
            raise broken(XGBOOST, "a length in it is negative")
        return length

    def _array(self, depth: int) -> list[Any]:
        kind, count, marker = self._header()
        widths = {**self.FIXED, **self.FLOATS}
        if kind in widths and count is not None:
            width = struct.calcsize(widths[kind])
            if width * count > 4096:
                self.reader.skip(width * count)
                return []
        found: list[Any] = []
        while count is None or len(found) < count:
            if count is None or kind == b"":
                marker = marker or self.reader.take(1)
                if count is None and marker == b"]":
                    return found
            found.append(self.value(kind or marker, depth + 1))
            marker = b""
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        kind, count, marker = self._header()
        found: dict[str, Any] = {}
        read = 0
        while count is None or read < count:
            marker = marker or self.reader.take(1)
            if count is None and marker == b"}":
                return found
            if marker not in self.FIXED:
                raise broken(XGBOOST, "a name in it has no length")
            length = self.reader.number(self.FIXED[marker])
            name = self.reader.take(length).decode("utf-8", "replace")
            found[name] = self.value(kind or self.reader.take(1), depth + 1)
            read, marker = read + 1, b""
        return found

    def _header(self) -> tuple[bytes, int | None, bytes]:
        """Return the type and count that a container announces, and the marker read instead."""
        kind, marker = b"", self.reader.take(1)
        if marker == b"$":
            kind, marker = self.reader.take(1), self.reader.take(1)
            if marker != b"#":
                raise broken(XGBOOST, "a container in it has a type but no count")
        if marker == b"#":
            return kind, self._length(), b""
        return kind, None, marker


def looks_like_lightgbm(head: bytes) -> bool:
    """Return whether `head` begins a LightGBM model."""
    return bool(re.match(rb"tree\r?\nversion=v\d", head))


def lightgbm(stream: BinaryIO) -> Inspected:
    """Return what the head of a LightGBM model says.

    Raises:
        Unreadable: It is not a whole one.
    """
    stream.seek(0)
    told: dict[str, str] = {}
    while line := stream.readline(LONGEST_LINE):
        if line.startswith(b"Tree=") or line.startswith(b"end of trees"):
            break
        name, _, value = line.decode("utf-8", "replace").strip().partition("=")
        told[name] = value
    stream.seek(max(0, size_of(stream) - 4 * 1024**2))
    if b"end of trees" not in stream.read():
        raise truncated(LIGHTGBM)
    return _lightgbm(told)


def _lightgbm(told: dict[str, str]) -> Inspected:
    try:
        features, classes = int(told["max_feature_idx"]) + 1, int(told.get("num_class", "1"))
        trees = len(told.get("tree_sizes", "").split())
    except (KeyError, ValueError) as error:
        raise broken(LIGHTGBM, "its head names no features") from error
    if not 0 < features < 1 << 31 or not 0 < classes < 1 << 31:
        raise broken(LIGHTGBM, f"it has {features} features and {classes} classes")
    objective = told.get("objective", "")[:200]
    facts: dict[str, Any] = {
        "features": features,
        "objective": objective,
        "trees": trees,
        "model_version": told.get("version", "")[:20],
    }
    if objective.startswith("binary"):
        facts["classes"] = 2
    elif classes > 1:
        facts["classes"] = classes
    if told.get("feature_names"):
        facts["feature_names"] = [n[:250] for n in told["feature_names"].split(" ")[:2000]]
    shape = [-1] if classes == 1 else [-1, classes]
    return Inspected(
        Format.LIGHTGBM,
        framework="LightGBM",
        inputs=[{"name": "input", "datatype": "FP64", "shape": [-1, features]}],
        outputs=[{"name": "prediction", "datatype": "FP64", "shape": shape}],
        facts=facts,
    )
