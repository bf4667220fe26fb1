"""A comparison as rows of a table, with what each difference means in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.registry.domain.compare import (
    Callable,
    Comparison,
    FieldRow,
    FileRow,
    MetricRow,
    ValueRow,
    Verdict,
)
from apps.registry.domain.inspected import Tensor
from controlplane.http.templatetags.components import rounded, shape, sized

NOTHING = "not given"
LONGEST = 120


@dataclass(frozen=True)
class Row:
    """One line: what it is, both sides, and what the difference means.

    Attributes:
        tone: "better" or "worse" where a difference breaks or mends something; else "".
    """

    name: str
    left: str
    right: str
    changed: bool
    meaning: str
    tone: str = ""


def summary(compared: Comparison) -> str:
    """Return the answer before the table."""
    if compared.left.number == compared.right.number:
        return "This is one and the same version. Choose another to hold it against."
    if compared.same_bytes:
        return "They hold the same bytes."
    match compared.callable:
        case Callable.YES:
            return "Whoever calls the one can call the other without a change."
        case Callable.NO:
            return "Callers must change: " + " ".join(compared.reasons)
        case _:
            return (
                "One of them does not say what it takes and gives, so whether callers must "
                "change is not known. A build finds out."
            )


def sections(compared: Comparison) -> list[tuple[str, list[Row]]]:
    """Return the parts of the comparison, each with its rows."""
    return [
        ("Metrics", [_metric(row) for row in compared.metrics]),
        ("Inputs", [_field(row) for row in compared.inputs]),
        ("Outputs", [_field(row) for row in compared.outputs]),
        ("Parameters", [_value(row) for row in compared.params]),
        ("Files", [*[_file(row) for row in compared.files], *_size(compared)]),
        ("About", [_value(row) for row in compared.about]),
        ("Where they came from", [_value(row) for row in compared.lineage if _given(row)]),
    ]


def facts(values: Mapping[str, Any], only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return what was read from files, short enough for a page."""
    names = [n for n in only if n in values] if only else sorted(values)
    return [(n, _short(values[n])) for n in names if values[n] not in (None, "", [], {})]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = [
            f"{k} {v}" if not isinstance(v, dict | list) else str(k) for k, v in value.items()
        ]
    if isinstance(value, list):
        shown = ", ".join(str(v) for v in value[:8])
        return shown + (f" and {len(value) - 8} more" if len(value) > 8 else "")
    text = str(value)
    if text.startswith("sha256:"):
        return text[: len("sha256:") + 12] + "…"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _metric(row: MetricRow) -> Row:
    left = NOTHING if row.left is None else rounded(row.left, 4)
    right = NOTHING if row.right is None else rounded(row.right, 4)
    return Row(row.name, left, right, row.verdict is not Verdict.SAME, _moved(row))


def _moved(row: MetricRow) -> str:
    if row.verdict is Verdict.SAME:
        return "the same"
    if row.difference is None:
        return "only one has it"
    direction = "higher" if row.difference > 0 else "lower"
    by = f"{rounded(abs(row.difference))} {direction}"
    return f"{by}, {rounded(abs(row.share) * 100, 2)} %" if row.share else by


def _field(row: FieldRow) -> Row:
    changed = row.verdict is not Verdict.SAME
    meaning = row.breaks or ("the same" if not changed else "callers need not change")
    return Row(
        row.name,
        _tensor(row.left),
        _tensor(row.right),
        changed,
        meaning,
        "worse" if row.breaks else "",
    )


def _tensor(tensor: Tensor | None) -> str:
    return NOTHING if tensor is None else f"{tensor['datatype']} {shape(tensor['shape'])}"


def _value(row: ValueRow) -> Row:
    changed = row.verdict is not Verdict.SAME
    words = {
        Verdict.SAME: "the same",
        Verdict.ADDED: "new",
        Verdict.REMOVED: "no longer given",
        Verdict.CHANGED: "changed",
    }
    left, right = (_short(v) if v is not None else NOTHING for v in (row.left, row.right))
    return Row(row.name, left, right, changed, words[row.verdict])


def _file(row: FileRow) -> Row:
    changed = row.verdict is not Verdict.SAME
    left, right = (
        NOTHING if f is None else f"{f.sha256[:8]}, {sized(f.size)}" for f in (row.left, row.right)
    )
    words = {Verdict.SAME: "the same bytes", Verdict.CHANGED: "other bytes"}
    return Row(row.path, left, right, changed, words.get(row.verdict, str(row.verdict)))


def _size(compared: Comparison) -> Iterator[Row]:
    left, right = compared.left.size, compared.right.size
    if not (left and right):
        return
    share = (right - left) / left
    direction = "larger" if share > 0 else "smaller"
    meaning = "the same" if left == right else f"{rounded(abs(share) * 100, 2)} % {direction}"
    yield Row("all files", sized(left), sized(right), left != right, meaning)


def _given(row: ValueRow) -> bool:
    return row.left is not None or row.right is not None
