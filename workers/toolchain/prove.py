"""Step 5: what each variant does to the answers, and what it costs to ask.

The reference is the native model itself, in this process. A variant passes when no number differs
by more than the model's tolerance and enough labels agree. Numbers that are not numbers are said,
and never pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.builds.domain.variants import ProofVerdict
from workers.toolchain import ort
from workers.toolchain.model import LABEL
from workers.toolchain.spec import Spec
from workers.toolchain.tensors import Arrays, Signature, as_oip, cut, rows_of, typed

CASES = 5
WORST = 3


@dataclass(frozen=True)
class Parity:
    """How a variant's answers differ from the native model's.

    Attributes:
        max_difference: Largest |difference| of any number; None when there are only labels.
        mean_difference: Mean |difference|.
        agreement: Share of equal labels, 0-1; None when there are none.
        not_numbers: Answers that are NaN or infinite where the native model's are not.
        compared: The outputs that both have.
        worst: The rows that differ most.
    """

    max_difference: float | None
    mean_difference: float | None
    agreement: float | None
    not_numbers: int
    compared: tuple[str, ...]
    worst: tuple[int, ...] = ()


def compare(reference: Arrays, answer: Arrays) -> Parity:
    """Compare two sets of outputs, by name; a single output on each side by place."""
    pairs = _pairs(reference, answer)
    differences: list[NDArray[Any]] = []
    agreement, not_numbers = None, 0
    for name, (want, have) in pairs.items():
        if _is_label(name, want):
            agreement = float(np.mean(_as_words(want) == _as_words(have)))
            continue
        lost = np.isfinite(want) & ~np.isfinite(have)
        not_numbers += int(lost.sum())
        differences.append(np.abs(np.where(np.isfinite(want), want - have, 0.0)).max(axis=1))
        if agreement is None and want.shape[1] > 1:
            agreement = float(np.mean(want.argmax(axis=1) == have.argmax(axis=1)))
    worst: tuple[int, ...] = ()
    largest = mean = None
    if differences:
        by_row = np.max(np.stack(differences), axis=0)
        finite = by_row[np.isfinite(by_row)]
        largest = float(finite.max()) if len(finite) else None
        mean = float(finite.mean()) if len(finite) else None
        worst = tuple(int(n) for n in np.argsort(-np.nan_to_num(by_row, nan=np.inf))[:WORST])
    return Parity(largest, mean, agreement, not_numbers, tuple(pairs), worst)


def _pairs(reference: Arrays, answer: Arrays) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    names = [name for name in reference if name in answer]
    if not names and len(reference) == len(answer) == 1:
        return {"": (_flat(next(iter(reference.values()))), _flat(next(iter(answer.values()))))}
    pairs = {name: (_flat(reference[name]), _flat(answer[name])) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0].shape == pair[1].shape}


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    flat = array.reshape(len(array), -1)
    return flat.astype(np.float64) if flat.dtype.kind in "fiub" else flat


def _is_label(name: str, array: NDArray[Any]) -> bool:
    return name == LABEL or array.dtype.kind not in "f"


def _as_words(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.dtype.kind == "f" else array.astype(str)


def verdict(parity: Parity, spec: Spec) -> tuple[ProofVerdict, str]:
    """Return whether a variant may be released, and why in one sentence."""
    if not parity.compared:
        return ProofVerdict.UNKNOWN, "Its outputs could not be matched with the native model's."
    if parity.not_numbers:
        return ProofVerdict.TOO_LOSSY, f"{parity.not_numbers} answers are not numbers."
    if parity.max_difference is not None and parity.max_difference > spec.tolerance:
        # Labels may be what counts: a quantised classifier that agrees has kept its decisions,
        # but the tolerance is on the numbers, and they are what callers read.
        return (
            ProofVerdict.TOO_LOSSY,
            f"The largest difference, {parity.max_difference:.2g}, is above the tolerance "
            f"of {spec.tolerance:g}.",
        )
    if parity.agreement is not None and parity.agreement < spec.min_agreement:
        return (
            ProofVerdict.TOO_LOSSY,
            f"{parity.agreement:.1%} of the labels agree; {spec.min_agreement:.1%} must.",
        )
    return ProofVerdict.PASSED, "Within the model's tolerance."


def not_finite(answer: Arrays) -> int:
    """Return how many numbers of an answer are NaN or infinite."""
    floats = [array for array in answer.values() if array.dtype.kind == "f"]
    return sum(int((~np.isfinite(array)).sum()) for array in floats)


def golden(inputs: Signature, arrays: Arrays, outputs: Arrays, spec: Spec) -> dict[str, Any]:
    """Return a few requests with the native model's answers, for a server to prove itself by."""
    rows = min(CASES, rows_of(arrays))
    return {
        "tolerance": spec.tolerance,
        "cases": [
            {
                "inputs": [as_oip(i["name"], _served(arrays[i["name"]], i, row)) for i in inputs],
                "outputs": [as_oip(name, array[row : row + 1]) for name, array in outputs.items()],
            }
            for row in _typical(outputs, rows)
        ],
    }


def _served(array: NDArray[Any], entry: dict[str, Any], row: int) -> NDArray[Any]:
    one = typed(array[row : row + 1], entry["datatype"])
    return one.reshape(1, 1) if one.ndim == 1 and len(entry["shape"]) == 2 else one


def _typical(outputs: Arrays, count: int) -> Sequence[int]:
    """Return rows whose answers are finite, so that a comparison with them means something."""
    rows = range(rows_of(outputs))
    finite = [
        row
        for row in rows
        if all(
            np.isfinite(array[row]).all() for array in outputs.values() if array.dtype.kind == "f"
        )
    ]
    return finite[:count]


def of_onnx(path: Path, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return what the ONNX file at `path` answers."""
    return ort.run(ort.session(path), arrays)


def is_stable(path: Path, arrays: Arrays, whole: Arrays) -> bool:
    """Return whether a row's answer is the same alone as in a batch."""
    alone = of_onnx(path, cut(arrays, 0, 1))
    together = {name: array[:1] for name, array in whole.items()}
    found = compare(together, alone)
    return found.max_difference is None or found.max_difference < 1e-4
