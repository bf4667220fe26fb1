"""Metrics as a document that people write, read strictly; and what is compared without one. Pure.

A document is a list of objects with the fields of `Metric`; allowances are objects with `absolute`
and `relative`. Unknown names and values out of range are refused with what to write instead.
"""

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import NoReturn, TypeVar

from apps.analysis.domain.judge import Plan
from apps.analysis.domain.values import (
    Allowance,
    Better,
    Metric,
    MetricKind,
    SourceKind,
)
from controlplane.kernel.errors import Invalid

CODE = "analysis.bad_metric"
MOST_METRICS = 12
ALPHA = 0.05
LEAST_ALPHA, MOST_ALPHA = 0.001, 0.2
MOST_DISPERSION = 50.0
LONGEST_TITLE, LONGEST_QUERY = 120, 4000
MOST_MS = 600_000.0
MOST = 1e12

COUNTED = frozenset(
    {SourceKind.ERRORS, SourceKind.REFUSED, SourceKind.SLOW, SourceKind.DISAGREEMENT}
)
ASKED = frozenset({SourceKind.PROMETHEUS, SourceKind.WEBHOOK, SourceKind.JOB})

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_FIELDS = tuple(field.name for field in fields(Metric))
_PLAN_FIELDS = ("metrics", "alpha", "dispersion")
_Kind = TypeVar("_Kind", bound=StrEnum)


def defaults(
    latency_ms: float | None = None, availability: float | None = None
) -> tuple[Metric, ...]:
    """Return what is compared when nobody said: errors, refusals, and slowness if slow is known.

    Both sides get the same callers, so a canary that refuses what stable takes reads its input
    otherwise. Callers make mistakes in bursts, so there is more room, and no step waits for it.

    Args:
        latency_ms: The objective's threshold; None without one.
        availability: The objective's share of answered requests; a strict one narrows the margin,
            down to half of the usual, because a point more is then far too much.
    """
    room = 1.0 if availability is None else min(max((1 - availability) / 0.01, 0.5), 1.0)
    errors = Metric(
        "errors",
        "Errors",
        MetricKind.RATE,
        SourceKind.ERRORS,
        tolerance=Allowance(absolute=0.0005, relative=0.25),
        margin=Allowance(absolute=0.01 * room, relative=0.25),
    )
    refused = Metric(
        "refused",
        "Refused requests",
        MetricKind.RATE,
        SourceKind.REFUSED,
        tolerance=Allowance(absolute=0.01, relative=0.25),
        margin=Allowance(absolute=0.03, relative=0.5),
        required=False,
    )
    if latency_ms is None:
        return errors, refused
    slow = Metric(
        "slow",
        f"Slower than {latency_ms:g} ms",
        MetricKind.RATE,
        SourceKind.SLOW,
        tolerance=Allowance(absolute=0.01, relative=0.2),
        margin=Allowance(absolute=0.02, relative=0.25),
        over_ms=latency_ms,
    )
    return errors, slow, refused


def parse_metrics(document: object) -> tuple[Metric, ...]:
    """Return the metrics of a document.

    Raises:
        Invalid: With the field, the value and what to write instead; `analysis.bad_metric`.
    """
    if not isinstance(document, list) or not document:
        _refuse("metrics", document, "Write a list of at least one metric.")
    if len(document) > MOST_METRICS:
        _refuse("metrics", f"{len(document)} metrics", f"Compare at most {MOST_METRICS}.")
    found = tuple(_metric(entry, f"metrics[{index}]") for index, entry in enumerate(document))
    for index, metric in enumerate(found):
        if metric.name in {other.name for other in found[:index]}:
            _refuse(f"metrics[{index}].name", metric.name, "Give each metric a name of its own.")
    if not any(metric.required for metric in found):
        _refuse("metrics", "no required metric", "Require at least one: a step waits for it.")
    return found


def as_document(metrics: Sequence[Metric]) -> list[dict[str, object]]:
    """Return the document that `parse_metrics` reads as these metrics."""
    return [_document(metric) for metric in metrics]


def parse_plan(document: object) -> Plan:
    """Return the plan of a document with `metrics`, and perhaps `alpha` and `dispersion`.

    Raises:
        Invalid: With the field, the value and what to write instead; `analysis.bad_metric`.
    """
    at = _Place(document, "")
    at.known(_PLAN_FIELDS)
    metrics = parse_metrics(at.of("metrics").value)
    alpha = at.of("alpha").number(ALPHA, least=LEAST_ALPHA, most=MOST_ALPHA)
    widened = at.of("dispersion", {})
    widened.known([metric.name for metric in metrics])
    return Plan(
        metrics,
        alpha,
        {
            metric.name: widened.of(metric.name).number(1.0, least=1.0, most=MOST_DISPERSION)
            for metric in metrics
        },
    )


def plan_document(plan: Plan) -> dict[str, object]:
    """Return the document that `parse_plan` reads as this plan."""
    return {
        "metrics": as_document(plan.metrics),
        "alpha": plan.alpha,
        "dispersion": dict(plan.dispersion),
    }


def _metric(document: object, path: str) -> Metric:
    at = _Place(document, path)
    at.known(_FIELDS)
    name, source = _name(at.of("name")), at.of("source").choice(SourceKind)
    metric = Metric(
        name=name,
        title=at.of("title").text(name.replace("_", " ").capitalize(), longest=LONGEST_TITLE),
        kind=at.of("kind").choice(MetricKind, MetricKind.RATE if source in COUNTED else None),
        source=source,
        better=at.of("better").choice(Better, Better.LOWER),
        tolerance=_allowance(at.of("tolerance")),
        margin=_allowance(at.of("margin")),
        over_ms=_over(at.of("over_ms"), source),
        query=_query(at.of("query"), source),
        cluster=at.of("cluster").boolean(default=False),
        required=at.of("required").boolean(default=True),
    )
    _check(metric, at)
    return metric


def _name(at: "_Place") -> str:
    if not isinstance(at.value, str) or not _NAME.fullmatch(at.value):
        at.refuse("Write a short name of small letters, digits, - and _, such as errors.")
    return at.value


def _allowance(at: "_Place") -> Allowance:
    if at.value is None:
        return Allowance()
    at.known(("absolute", "relative"))
    return Allowance(
        at.of("absolute").number(0.0, least=0.0, most=MOST),
        at.of("relative").number(0.0, least=0.0, most=100.0),
    )


def _over(at: "_Place", source: SourceKind) -> float | None:
    if source is SourceKind.SLOW:
        if at.value is None:
            at.refuse("Write from how many milliseconds on a request counts as slow.")
        return at.number(0.0, least=0.001, most=MOST_MS)
    if at.value is not None:
        at.refuse("Leave it out: only a metric with the source slow has a threshold.")
    return None


def _query(at: "_Place", source: SourceKind) -> str:
    if source in COUNTED and at.value not in (None, ""):
        at.refuse(f"Leave it out: the source {source} is counted by the proxy itself.")
    if source in ASKED and not at.value:
        at.refuse("Write the query, the address or the job's name.")
    return at.text("", longest=LONGEST_QUERY, lines=True)


def _check(metric: Metric, at: "_Place") -> None:
    """Refuse fields that make no sense together."""
    if metric.source in COUNTED and metric.kind is not MetricKind.RATE:
        at.of("kind").refuse(f"Write rate: the source {metric.source} counts requests.")
    if metric.source in COUNTED and metric.better is not Better.LOWER:
        at.of("better").refuse(f"Write lower: the source {metric.source} counts what is bad.")
    for name, allowance in (("tolerance", metric.tolerance), ("margin", metric.margin)):
        if metric.kind is MetricKind.RATE and allowance.absolute >= 1:
            at.of(name).of("absolute").refuse("Write a share below 1, such as 0.01 for 1 point.")
        if metric.better is Better.HIGHER and allowance.relative >= 1:
            at.of(name).of("relative").refuse("Write a share of stable's value below 1.")
    _check_order(metric, at)
    if metric.source is SourceKind.DISAGREEMENT:
        _check_disagreement(metric, at)


def _check_order(metric: Metric, at: "_Place") -> None:
    wide, narrow = metric.margin, metric.tolerance
    if metric.source is SourceKind.DISAGREEMENT:
        return
    for name in ("absolute", "relative"):
        if getattr(wide, name) < getattr(narrow, name):
            at.of("margin").of(name).refuse(
                f"Write at least the tolerance's {getattr(narrow, name):g}: what is tolerated is "
                "not worse."
            )
    if not wide.absolute and not wide.relative:
        at.of("margin").refuse(
            "Write how much worse would still be fine: without any margin nothing can ever be "
            "proven to be no worse."
        )


def _check_disagreement(metric: Metric, at: "_Place") -> None:
    for name, allowance in (("tolerance", metric.tolerance), ("margin", metric.margin)):
        if allowance.relative:
            at.of(name).of("relative").refuse(
                "Leave it out: there is no stable side to take it of."
            )
        if not allowance.absolute:
            at.of(name).of("absolute").refuse("Write a share above 0 of answers that may differ.")
    if metric.cluster:
        at.of("cluster").refuse("Leave it out: disagreement is held against a limit.")


def _document(metric: Metric) -> dict[str, object]:
    document: dict[str, object] = {}
    for name in _FIELDS:
        value = getattr(metric, name)
        if isinstance(value, Allowance):
            value = {"absolute": value.absolute, "relative": value.relative}
        if value is not None and value != "":
            document[name] = str(value) if isinstance(value, StrEnum) else value
    return document


@dataclass(frozen=True)
class _Place:
    """A value in the document, and where it stands."""

    value: object
    path: str

    def refuse(self, remedy: str) -> NoReturn:
        _refuse(self.path or "plan", self.value, remedy)

    def known(self, names: Collection[str]) -> None:
        """Refuse what is no object, and names that are not known."""
        if not isinstance(self.value, Mapping):
            self.refuse(f"Write an object with these fields: {', '.join(names)}.")
        for name in self.value:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, n=1)
                hint = f"Did you mean {near[0]}? " if near else ""
                where = f"{self.path}.{name}" if self.path else str(name)
                raise Invalid(
                    f"{where} is not a field here.",
                    remedy=f"{hint}The fields are: {', '.join(names)}.",
                    field=where,
                    code=CODE,
                )

    def of(self, name: str, default: object = None) -> "_Place":
        value = self.value.get(name, default) if isinstance(self.value, Mapping) else default
        return _Place(value, f"{self.path}.{name}" if self.path else name)

    def choice(self, kind: type[_Kind], default: _Kind | None = None) -> _Kind:
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str) or self.value not in list(kind):
            self.refuse(f"Write one of: {', '.join(kind)}.")
        return kind(self.value)

    def text(self, default: str, *, longest: int, lines: bool = False) -> str:
        if self.value is None:
            return default
        if not isinstance(self.value, str) or len(self.value) > longest:
            self.refuse(f"Write a text of at most {longest} characters.")
        if "\0" in self.value or not (lines or self.value.isprintable()):
            self.refuse("Write one line of printable characters.")
        return self.value.strip() or default

    def boolean(self, *, default: bool) -> bool:
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            self.refuse("Write true or false.")
        return self.value

    def number(self, default: float, *, least: float, most: float) -> float:
        value = default if self.value is None else self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"Write a number from {least:g} to {most:g}.")
        if not math.isfinite(value) or not least <= value <= most:
            self.refuse(f"Write a number from {least:g} to {most:g}.")
        return float(value)


def _refuse(field: str, value: object, remedy: str) -> NoReturn:
    what = "is missing" if value is None else f"is {str(value)[:60]!r}"
    raise Invalid(f"{field} {what}.", remedy=remedy, field=field, code=CODE)
