import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.analysis.domain import spec
from apps.analysis.domain.judge import Plan
from apps.analysis.domain.values import Answer, Better, MetricKind, SourceKind
from controlplane.kernel.errors import Invalid

ERRORS: dict[str, Any] = {
    "name": "errors", "source": "errors",
    "tolerance": {"absolute": 0.001}, "margin": {"absolute": 0.01},
}  # fmt: skip
QUALITY: dict[str, Any] = {
    "name": "arrived", "title": "Arrived in time", "source": "feedback", "kind": "rate",
    "better": "higher", "tolerance": {"absolute": 0.01}, "margin": {"relative": 0.05},
}  # fmt: skip


@pytest.mark.parametrize("latency_ms", [None, 50.0, 250.0])
@pytest.mark.parametrize("availability", [None, 0.9, 0.999, 0.99999])
def test_the_defaults_can_be_written_and_read(
    latency_ms: float | None, availability: float | None
) -> None:
    metrics = spec.defaults(latency_ms, availability)
    assert spec.parse_metrics(json.loads(json.dumps(spec.as_document(metrics)))) == metrics
    slow = ["slow"] if latency_ms is not None else []
    assert [m.name for m in metrics] == ["errors", *slow, "refused"]


def test_a_plan_can_be_written_and_read() -> None:
    plan = Plan(spec.defaults(250, 0.999), 0.01, {"errors": 1.7, "slow": 1.0, "refused": 1.2})
    assert spec.parse_plan(json.loads(json.dumps(spec.plan_document(plan)))) == plan


def test_what_is_left_out_has_a_default() -> None:
    [metric] = spec.parse_metrics([ERRORS])
    assert (metric.kind, metric.title) == (MetricKind.RATE, "Errors")
    assert (metric.better, metric.required, metric.cluster) == (Better.LOWER, True, False)
    plan = spec.parse_plan({"metrics": [ERRORS]})
    assert (plan.alpha, plan.dispersion) == (0.05, {"errors": 1.0})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "Not a slug"}, "metrics[0].name"),
        ({"name": None}, "metrics[0].name"),
        ({"source": "guess"}, "metrics[0].source"),
        ({"source": None}, "metrics[0].source"),
        ({"kind": "mean"}, "metrics[0].kind"),
        ({"better": "higher"}, "metrics[0].better"),
        ({"better": "up"}, "metrics[0].better"),
        ({"over_ms": 250}, "metrics[0].over_ms"),
        ({"query": "up"}, "metrics[0].query"),
        ({"cluster": "yes"}, "metrics[0].cluster"),
        ({"required": 1}, "metrics[0].required"),
        ({"required": False}, "metrics"),
        ({"title": 5}, "metrics[0].title"),
        ({"title": "a\0b"}, "metrics[0].title"),
        ({"tolerance": 0.01}, "metrics[0].tolerance"),
        ({"tolerance": {"absolut": 0.01}}, "metrics[0].tolerance.absolut"),
        ({"tolerance": {"absolute": -0.01}}, "metrics[0].tolerance.absolute"),
        ({"tolerance": {"absolute": float("nan")}}, "metrics[0].tolerance.absolute"),
        ({"tolerance": {"absolute": True}}, "metrics[0].tolerance.absolute"),
        ({"tolerance": {"absolute": 0.02}}, "metrics[0].margin.absolute"),
        ({"tolerance": {"relative": 0.02}}, "metrics[0].margin.relative"),
        ({"margin": {"absolute": 1.0}}, "metrics[0].margin.absolute"),
        ({"tolerance": {}, "margin": {}}, "metrics[0].margin"),
        ({"colour": "red"}, "metrics[0].colour"),
        ({"source": "slow"}, "metrics[0].over_ms"),
        ({"source": "slow", "over_ms": 0}, "metrics[0].over_ms"),
        ({"source": "prometheus", "kind": "mean"}, "metrics[0].query"),
        ({"source": "feedback"}, "metrics[0].kind"),
        ({"source": "disagreement", "tolerance": {}}, "metrics[0].tolerance.absolute"),
        ({"source": "disagreement", "margin": {"absolute": 0.01, "relative": 1}},
         "metrics[0].margin.relative"),
        ({"source": "disagreement", "cluster": True}, "metrics[0].cluster"),
        ({**QUALITY, "name": "x", "margin": {"relative": 1.0}}, "metrics[0].margin.relative"),
        ({**QUALITY, "name": "x"}, "metrics[0].margin.absolute"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_naming_its_place(
    changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        spec.parse_metrics([{**ERRORS, **changed}])
    assert refused.value.field == field
    assert refused.value.code == "analysis.bad_metric"
    assert refused.value.remedy


@pytest.mark.parametrize("document", [None, {}, [], "errors", [None], [ERRORS, ERRORS]])
def test_a_document_of_another_shape_is_refused(document: object) -> None:
    with pytest.raises(Invalid):
        spec.parse_metrics(document)


@pytest.mark.parametrize(
    "changed", [{"alpha": 0}, {"alpha": 0.9}, {"dispersion": {"slow": 2}}, {"alfa": 0.1},
                {"dispersion": {"errors": 0.5}}],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        spec.parse_plan({"metrics": [ERRORS], **changed})


def test_a_misspelt_field_gets_a_hint() -> None:
    with pytest.raises(Invalid) as refused:
        spec.parse_metrics([{**ERRORS, "margn": {}}])
    assert "Did you mean margin?" in refused.value.remedy


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "source", "margin", "absolute", "x"]), inner),
    max_leaves=8,
))  # fmt: skip
def test_anything_else_is_refused_and_nothing_breaks(document: object) -> None:
    with pytest.raises(Invalid):
        spec.parse_metrics(document)


def test_every_answer_and_source_is_known_here() -> None:
    assert {SourceKind.FEEDBACK} == set(SourceKind) - spec.COUNTED - spec.ASKED
    assert len(Answer) == 3
