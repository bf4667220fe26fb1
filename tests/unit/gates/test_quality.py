"""Intervals decide: better, worse, or not known."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.gates.domain import quality
from apps.gates.domain.finding import Verdict
from apps.gates.domain.quality import Demand
from controlplane.kernel.errors import Invalid

GOOD: dict[str, Any] = {
    "metric": "auc", "value": 0.97, "low": 0.96, "high": 0.98, "baseline": 0.9,
    "live": {"value": 0.93, "low": 0.92, "high": 0.94},
    "slices": [{"name": "new", "value": 0.95, "low": 0.93, "high": 0.97, "live": 0.94}],
}  # fmt: skip


def judged(demand: Demand | None = None, **change: Any) -> quality.Finding:
    metric = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    reported = quality.parse({"live_version": 41, "metrics": [metric]})
    return quality.judge(reported, demand or Demand(live_version=41))


@pytest.mark.parametrize(
    ("what", "change", "expected"),
    [
        ("clearly better", {}, Verdict.PASSED),
        ("no interval", {"low": None, "high": None}, Verdict.UNKNOWN),
        ("overlaps the live one", {"low": 0.93}, Verdict.UNKNOWN),
        ("worse than the live one", {"live": {"value": 0.99, "low": 0.985, "high": 0.995}},
         Verdict.FAILED),
        ("not better than the baseline", {"baseline": 0.97}, Verdict.UNKNOWN),
        ("worse than the baseline", {"baseline": 0.99}, Verdict.FAILED),
        ("no baseline", {"baseline": None}, Verdict.UNKNOWN),
        ("live not reported", {"live": None}, Verdict.UNKNOWN),
        ("no slices", {"slices": None}, Verdict.UNKNOWN),
        ("a slice is worse", {"slices": [{"name": "a", "value": 0.8, "low": 0.79, "high": 0.81,
         "live": 0.9}]}, Verdict.FAILED),
        ("a slice may be the same", {"slices": [{"name": "a", "value": 0.9, "low": 0.85,
         "high": 0.95, "live": 0.9}]}, Verdict.PASSED),
        ("a slice without an interval", {"slices": [{"name": "a", "value": 0.9, "live": 0.9}]},
         Verdict.UNKNOWN),
        ("the same rows: a gain", {"live": None, "gain": {"value": 0.01, "low": 0.001,
         "high": 0.02}}, Verdict.PASSED),
        ("the same rows: a loss", {"live": None, "gain": {"value": -0.01, "low": -0.02,
         "high": -0.001}}, Verdict.FAILED),
        ("the same rows: nothing shown", {"live": None, "gain": {"value": 0.01, "low": -0.01,
         "high": 0.03}}, Verdict.UNKNOWN),
    ],
)  # fmt: skip
def test_intervals_decide(what: str, change: dict[str, Any], expected: Verdict) -> None:
    found = judged(**change)
    assert found.verdict is expected, f"{what}: {found.sentence}"


def test_a_loss_is_better_when_it_is_lower() -> None:
    loss: dict[str, Any] = {
        "value": 0.10, "low": 0.09, "high": 0.11, "baseline": 0.5, "higher_is_better": False,
        "live": {"value": 0.2, "low": 0.19, "high": 0.21},
        "slices": [{"name": "a", "value": 0.1, "low": 0.09, "high": 0.11, "live": 0.2}],
    }  # fmt: skip
    assert judged(**loss).verdict is Verdict.PASSED
    assert judged(**{**loss, "higher_is_better": True}).verdict is Verdict.FAILED


def test_a_margin_lets_what_is_as_good_through() -> None:
    same = {"live": {"value": 0.97, "low": 0.965, "high": 0.975}}
    assert judged(**same).verdict is Verdict.UNKNOWN
    assert judged(Demand(live_version=41, margin=0.02), **same).verdict is Verdict.PASSED


def test_nothing_live_needs_no_comparison_with_it() -> None:
    found = judged(Demand(live_version=None), live=None, slices=[
        {"name": "a", "value": 0.95, "low": 0.94, "high": 0.96, "baseline": 0.9}
    ])  # fmt: skip
    assert found.verdict is Verdict.PASSED


def test_evidence_against_another_version_shows_nothing() -> None:
    assert judged(Demand(live_version=42)).verdict is Verdict.UNKNOWN


def test_a_metric_that_the_policy_names_must_be_there() -> None:
    found = judged(Demand(live_version=41, metrics=("auc", "recall")))
    assert found.verdict is Verdict.UNKNOWN
    assert "recall was not reported" in found.sentence


numbers = st.floats(-1e6, 1e6)


@given(value=numbers, half=st.floats(1e-6, 1e3), live=numbers, wide=st.floats(1e-6, 1e3))
def test_nothing_passes_against_the_live_one_whose_interval_overlaps_it(
    value: float, half: float, live: float, wide: float
) -> None:
    metric = {
        "metric": "m", "value": value, "low": value - half, "high": value + half,
        "baseline": -1e9, "live": {"value": live, "low": live - wide, "high": live + wide},
    }  # fmt: skip
    reported = quality.parse({"live_version": 1, "metrics": [metric]})
    found = quality.judge(reported, Demand(live_version=1, slices=False))
    overlap = value - half <= live + wide and live - wide <= value + half
    if overlap:
        assert found.verdict is Verdict.UNKNOWN
    else:
        assert found.verdict is (Verdict.PASSED if value > live else Verdict.FAILED)


@pytest.mark.parametrize(
    "facts",
    [
        [], {}, {"metrics": {}}, {"metrics": [1]}, {"metrics": [{"metric": "", "value": 1}]},
        {"metric": "a", "value": "1"}, {"metric": "a", "value": True},
        {"metric": "a", "value": 1, "low": 0}, {"metric": "a", "value": 1, "low": 2, "high": 3},
        {"metric": "a", "value": 1, "slices": {}}, {"metric": "a", "value": float("inf")},
        {"metric": "a", "value": 1, "higher_is_better": "yes"},
        {"metric": "a", "value": 1, "live_version": "41"},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_an_example(facts: object) -> None:
    with pytest.raises(Invalid) as caught:
        quality.parse(facts)
    assert '"live_version"' in caught.value.remedy
