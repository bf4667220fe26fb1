"""Conditions and orders that a caller writes as text, parsed strictly."""

import math
import re
from dataclasses import dataclass

from controlplane.kernel.errors import Invalid

METRIC = re.compile(
    r"\s*(?P<name>[A-Za-z_][\w./@% -]{0,249}?)\s*(?P<op>>=|<=|!=|==|=|>|<)\s*(?P<value>\S+)\s*"
)
LOOKUPS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "exact", "==": "exact", "!=": "ne"}
COLUMNS = {"number": "number", "created": "created_at"}


@dataclass(frozen=True)
class MetricTest:
    """One condition on one metric.

    Attributes:
        name: The metric.
        lookup: "gt", "gte", "lt", "lte" or "exact".
        value: The finite number it is held against.
    """

    name: str
    lookup: str
    value: float


def metric_test(text: str) -> MetricTest:
    """Return the condition that `text` ("auc>0.9") writes.

    Raises:
        Invalid: It is not one; the code is `registry.bad_metric_condition`.
    """
    found = METRIC.fullmatch(text)
    value = _number(found["value"]) if found else None
    lookup = LOOKUPS[found["op"]] if found else "ne"
    if found is None or value is None or lookup == "ne" or "__" in found["name"]:
        raise Invalid(
            f"{text[:80]!r} is not a condition on a metric.",
            remedy="Write a name, one of > >= < <= =, and a number: auc>0.9.",
            field="metric",
            code="registry.bad_metric_condition",
        )
    return MetricTest(found["name"], lookup, value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


@dataclass(frozen=True)
class Sort:
    """An order of versions.

    Attributes:
        column: The row's column; "" when sorted by a metric.
        metric: The metric's name; "" otherwise.
        descending: Largest first.
    """

    column: str
    metric: str
    descending: bool

    @classmethod
    def parse(cls, text: str) -> "Sort":
        """Return the order that `text` ("-number", "metric:auc") writes.

        Raises:
            Invalid: It is not one; the code is `registry.unknown_sort`.
        """
        descending, name = text.startswith("-"), text.removeprefix("-")
        if name in COLUMNS:
            return cls(COLUMNS[name], "", descending)
        metric = name.removeprefix("metric:")
        if (
            metric != name
            and re.fullmatch(r"[A-Za-z_][\w./@% -]{0,249}", metric)
            and "__" not in metric
        ):
            return cls("", metric, descending)
        raise Invalid(
            f"{text[:40]!r} is not an order.",
            remedy="Use number, created or metric:NAME, with a minus for the largest first.",
            field="sort",
            code="registry.unknown_sort",
        )
