"""What a run remembers, and the same as a document that JSON can hold. Pure.

The round trip is exact: Python writes floats so that they are read back digit for digit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from typing import Any

from apps.analysis.domain.confseq import MeanState, Sums
from apps.analysis.domain.rates import RateState
from apps.analysis.domain.wealth import Wealth
from controlplane.kernel.quantities import Tally

FORMAT = 1


@dataclass(frozen=True)
class MetricState:
    """What is remembered of one metric.

    Attributes:
        evidence: Sums and wealth.
        last_at: When the last slice began; an earlier one is not counted again.
        is_not_worse: Whether "not worse" was proven in the current step.
        most_worse: The highest e-value of "worse" so far.
    """

    evidence: RateState | MeanState
    last_at: datetime | None = None
    is_not_worse: bool = False
    most_worse: float = 1.0


@dataclass(frozen=True)
class RunState:
    """What is remembered of a run.

    Attributes:
        metrics: By name.
        most_worse: The highest combined e-value of "worse" so far.
    """

    metrics: Mapping[str, MetricState]
    most_worse: float = 1.0


def state_to_json(state: RunState) -> dict[str, Any]:
    """Return the state as a document."""
    metrics = {name: _metric(metric) for name, metric in state.metrics.items()}
    return {"format": FORMAT, "most_worse": state.most_worse, "metrics": metrics}


def state_from_json(document: Mapping[str, Any]) -> RunState:
    """Return the state that `state_to_json` wrote.

    Raises:
        ValueError: It was written in another format.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"This state has format {document.get('format')!r}, not {FORMAT}.")
    metrics = {name: _metric_of(metric) for name, metric in document["metrics"].items()}
    return RunState(metrics, document["most_worse"])


def _metric(state: MetricState) -> dict[str, Any]:
    kind = "rate" if isinstance(state.evidence, RateState) else "mean"
    return {
        "kind": kind,
        "evidence": _plain(state.evidence),
        "last_at": state.last_at.isoformat() if state.last_at else None,
        "is_not_worse": state.is_not_worse,
        "most_worse": state.most_worse,
    }


def _plain(value: Any) -> Any:
    """Return dataclasses as dictionaries; a third of what `asdict` takes, which copies leaves."""
    if not is_dataclass(value):
        return value
    return {name: _plain(inner) for name, inner in vars(value).items()}


def _metric_of(document: Mapping[str, Any]) -> MetricState:
    evidence, last_at = document["evidence"], document["last_at"]
    return MetricState(
        _rate(evidence) if document["kind"] == "rate" else _mean(evidence),
        datetime.fromisoformat(last_at) if last_at else None,
        document["is_not_worse"],
        document["most_worse"],
    )


def _rate(document: Mapping[str, Any]) -> RateState:
    return RateState(
        **{
            **document,
            **{name: Tally(**document[name]) for name in ("stable", "canary", "base")},
            **{name: _wealth(document[name]) for name in ("worse", "not_worse")},
            "traffic": tuple(document["traffic"]),
        }
    )


def _mean(document: Mapping[str, Any]) -> MeanState:
    sums = ("plain", "above", "above_step", "below", "below_step")
    return MeanState(
        **{
            **document,
            **{name: Tally(**document[name]) for name in ("stable", "canary")},
            **{name: _sums(document[name]) for name in sums},
            "origin": tuple(document["origin"]) if document["origin"] else None,
        }
    )


def _wealth(document: Mapping[str, Any]) -> Wealth:
    return Wealth(document["cash"], tuple(document["stakes"]))


def _sums(document: Mapping[str, Any]) -> Sums:
    return Sums(**{**document, "squares": tuple(document["squares"])})
