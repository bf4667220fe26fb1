"""Whether a server's answer is the one that the original model gave."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def difference(
    expected: Sequence[Mapping[str, Any]],
    answered: Sequence[Mapping[str, Any]],
    *,
    tolerance: float,
) -> str:
    """Return how `answered` differs from `expected`, as a sentence; "" when it does not.

    Args:
        expected: Output tensors of the Open Inference Protocol; others in the answer may be.
        answered: Output tensors.
        tolerance: The largest |difference| of two numbers that counts as equal; for numbers
            larger than 1 it is taken relative to the expected one.
    """
    by_name = {tensor.get("name"): tensor for tensor in answered}
    for tensor in expected:
        name = tensor.get("name")
        other = by_name.get(name)
        if other is None:
            return f"The answer has no output called “{name}”."
        left, right = _flat(tensor.get("data", [])), _flat(other.get("data", []))
        if len(left) != len(right):
            return f"Output “{name}” has {len(right)} values, not {len(left)}."
        for index, (wanted, got) in enumerate(zip(left, right, strict=True)):
            if not _equal(wanted, got, tolerance):
                return f"Output “{name}” has {got!r} at {index}, not {wanted!r}."
    return ""


def _flat(data: Any) -> list[Any]:
    """Return the values of a tensor, which may be written nested or flat, in row order."""
    if not isinstance(data, list):
        return [data]
    return [value for inner in data for value in _flat(inner)]


def _equal(wanted: Any, got: Any, tolerance: float) -> bool:
    numbers = isinstance(wanted, int | float) and isinstance(got, int | float)
    if not numbers:
        return bool(wanted == got)
    if math.isnan(wanted) or math.isnan(got):
        return math.isnan(wanted) and math.isnan(got)
    return bool(wanted == got) or bool(abs(wanted - got) <= tolerance * max(1.0, abs(wanted)))
