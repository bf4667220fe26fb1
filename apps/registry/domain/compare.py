"""Two versions side by side: what differs, and whether a caller of one can call the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from apps.registry.domain.inspected import Tensor
from controlplane.kernel.digests import FileEntry


class Verdict(StrEnum):
    """How one thing on the left relates to the same thing on the right."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Callable(StrEnum):
    """Whether whoever calls the left version can call the right one as they do."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # one of them does not say what it takes or gives


@dataclass(frozen=True)
class Side:
    """One of the two versions, as values."""

    number: int
    semver: str = ""
    state: str = ""
    format: str = ""
    framework: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Tensor] = ()
    outputs: Sequence[Tensor] = ()
    files: tuple[FileEntry, ...] = ()
    size: int = 0
    manifest_digest: str = ""
    lineage: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricRow:
    """One metric. `difference` is right minus left; `share` is that relative to the left."""

    name: str
    left: float | None
    right: float | None
    difference: float | None
    share: float | None
    verdict: Verdict


@dataclass(frozen=True)
class ValueRow:
    """One parameter, or one fact of the lineage; None where a side has none."""

    name: str
    left: str | None
    right: str | None
    verdict: Verdict


@dataclass(frozen=True)
class FieldRow:
    """One input or output. `breaks` says why a caller of the left would fail; "" if not."""

    name: str
    left: Tensor | None
    right: Tensor | None
    verdict: Verdict
    breaks: str


@dataclass(frozen=True)
class FileRow:
    """One file, by its path."""

    path: str
    left: FileEntry | None
    right: FileEntry | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Everything that a page or a client needs to show two versions side by side.

    Attributes:
        same_bytes: The manifests are equal.
        callable: Whether a caller of the left version can call the right one.
        reasons: Why not, one sentence each.
    """

    left: Side
    right: Side
    same_bytes: bool
    metrics: list[MetricRow]
    params: list[ValueRow]
    inputs: list[FieldRow]
    outputs: list[FieldRow]
    callable: Callable
    reasons: list[str]
    files: list[FileRow]
    lineage: list[ValueRow]
    about: list[ValueRow]


def compare(left: Side, right: Side) -> Comparison:
    """Return what differs between two versions."""
    inputs = _fields(left.inputs, right.inputs, _input_breaks)
    outputs = _fields(left.outputs, right.outputs, _output_breaks)
    reasons = [row.breaks for row in [*inputs, *outputs] if row.breaks]
    return Comparison(
        left=left,
        right=right,
        same_bytes=bool(left.manifest_digest) and left.manifest_digest == right.manifest_digest,
        metrics=[_metric(name, a, b) for name, a, b in _both(left.metrics, right.metrics)],
        params=[_value(name, a, b) for name, a, b in _both(left.params, right.params)],
        inputs=inputs,
        outputs=outputs,
        callable=_callable(left, right, reasons),
        reasons=reasons,
        files=[_file(path, a, b) for path, a, b in _both(_by_path(left), _by_path(right))],
        lineage=[_value(name, a, b) for name, a, b in _both(left.lineage, right.lineage)],
        about=[_value(name, a, b) for name, a, b in _both(_about(left), _about(right))],
    )


def _callable(left: Side, right: Side, reasons: list[str]) -> Callable:
    if reasons:
        return Callable.NO
    known = all((left.inputs, right.inputs, left.outputs, right.outputs))
    return Callable.YES if known else Callable.UNKNOWN


def _both(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*left, *right}):
        yield name, left.get(name), right.get(name)


def _tensors(
    left: Sequence[Tensor], right: Sequence[Tensor]
) -> Iterator[tuple[str, Tensor | None, Tensor | None]]:
    """Pair by name, in the left's order, then what only the right has."""
    rights = {t["name"]: t for t in right}
    lefts = {t["name"]: t for t in left}
    for name in [*lefts, *(n for n in rights if n not in lefts)]:
        yield name, lefts.get(name), rights.get(name)


def _verdict(left: object, right: object) -> Verdict:
    if left is None:
        return Verdict.ADDED
    if right is None:
        return Verdict.REMOVED
    return Verdict.SAME if left == right else Verdict.CHANGED


def _metric(name: str, left: float | None, right: float | None) -> MetricRow:
    difference = right - left if left is not None and right is not None else None
    share = difference / abs(left) if difference is not None and left else None
    return MetricRow(name, left, right, difference, share, _verdict(left, right))


def _value(name: str, left: object, right: object) -> ValueRow:
    a, b = (None if v in (None, "") else str(v) for v in (left, right))
    verdict = Verdict.SAME if a is None and b is None else _verdict(a, b)
    return ValueRow(name, a, b, verdict)


def _file(path: str, left: FileEntry | None, right: FileEntry | None) -> FileRow:
    return FileRow(path, left, right, _verdict(left, right))


def _by_path(side: Side) -> dict[str, FileEntry]:
    return {file.path: file for file in side.files}


def _about(side: Side) -> dict[str, str]:
    return {
        "format": side.format,
        "framework": side.framework,
        "semantic version": side.semver,
        "state": side.state,
    }


def _fields(left: Sequence[Tensor], right: Sequence[Tensor], breaks: Any) -> list[FieldRow]:
    # A side that says nothing may take anything: that breaks nobody, and promises nothing.
    told = bool(left) and bool(right)
    return [
        FieldRow(name, a, b, _verdict(a, b), breaks(name, a, b) if told else "")
        for name, a, b in _tensors(left, right)
    ]


def _input_breaks(name: str, left: Tensor | None, right: Tensor | None) -> str:
    """What callers send must still be accepted: no new field, same type, no narrower shape."""
    if left is None:
        return f"Input {name} is new, and callers do not send it."
    if right is None:
        return f"Input {name} is no longer taken."
    if left["datatype"] != right["datatype"]:
        return f"Input {name} is {right['datatype']} instead of {left['datatype']}."
    if not _fits(left["shape"], right["shape"]):
        return f"Input {name} has the shape {right['shape']} instead of {left['shape']}."
    return ""


def _output_breaks(name: str, left: Tensor | None, right: Tensor | None) -> str:
    """What callers read must still be there, of the same type, in a shape they know."""
    if left is None:
        return ""  # one more output harms nobody
    if right is None:
        return f"Output {name} is no longer given."
    if left["datatype"] != right["datatype"]:
        return f"Output {name} is {right['datatype']} instead of {left['datatype']}."
    if not _fits(right["shape"], left["shape"]):
        return f"Output {name} has the shape {right['shape']} instead of {left['shape']}."
    return ""


def _fits(given: Sequence[int], wanted: Sequence[int]) -> bool:
    """Return whether everything of shape `given` is also of shape `wanted`; -1 is any size."""
    return len(given) == len(wanted) and all(
        w in (-1, g) for g, w in zip(given, wanted, strict=True)
    )
