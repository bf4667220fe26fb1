"""Names, conditions, details and comparing, as values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.registry.domain import details, names
from apps.registry.domain.compare import Callable, Side, Verdict, compare
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Tensor
from apps.registry.domain.search import MetricTest, Sort, metric_test
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Invalid


@pytest.mark.parametrize("name", ["a", "A1", "card-fraud", "x.y_z-1", "9", "a" * 128])
def test_sensible_names_are_allowed(name: str) -> None:
    assert names.model_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "é", "New"])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        names.model_name(name)
    assert "letter" in refused.value.remedy


@given(st.text(max_size=60))
def test_a_clean_path_never_leads_out(text: str) -> None:
    try:
        path = names.file_path(text)
    except Invalid:
        return
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert names.file_path(path) == path


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("auc>0.9", MetricTest("auc", "gt", 0.9)),
        (" val/loss <= 1e-3 ", MetricTest("val/loss", "lte", 0.001)),
        ("f1=1", MetricTest("f1", "exact", 1.0)),
        ("p@10>=-2", MetricTest("p@10", "gte", -2.0)),
    ],
)
def test_a_condition_is_read(text: str, condition: MetricTest) -> None:
    assert metric_test(text) == condition


@pytest.mark.parametrize(
    "text", ["", "auc", ">1", "auc>", "auc>x", "auc>nan", "auc>inf", "auc!=1", "a__b>1",
             "auc>1;drop table", "auc>1 or 1=1", "1>0", "auc>1_0"],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        metric_test(text)


def test_an_order_is_read() -> None:
    assert Sort.parse("-number") == Sort("number", "", True)
    assert Sort.parse("created") == Sort("created_at", "", False)
    assert Sort.parse("-metric:auc") == Sort("", "auc", True)
    for wrong in ("", "size", "metric:", "metric:a__b", "--number"):
        with pytest.raises(Invalid):
            Sort.parse(wrong)


def test_metrics_are_finite_numbers() -> None:
    assert details.metrics({"a": 1, "b": 0.5}) == {"a": 1.0, "b": 0.5}
    for wrong in (float("nan"), float("inf"), "1", None, True, 10**400):
        with pytest.raises(Invalid):
            details.metrics({"a": wrong})
    assert details.finite({"a": float("nan"), "b": 2}) == {"b": 2.0}


def test_details_are_bounded() -> None:
    Details(semver="1.4.0-rc.1", run_id="a" * 64)
    for wrong in ({"semver": "one"}, {"run_id": "a" * 65}, {"dataset": "x" * 201}):
        with pytest.raises(Invalid):
            Details(**wrong)  # type: ignore[arg-type]


def tensor(name: str = "x", datatype: str = "FP32", *shape: int) -> Tensor:
    return {"name": name, "datatype": datatype, "shape": list(shape or (-1, 4))}


def side(number: int = 1, **columns: Any) -> Side:
    return Side(**{"number": number, "inputs": [tensor()], "outputs": [tensor("y")], **columns})


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        (side(2), Callable.YES),
        (side(2, inputs=[tensor("x", "FP32", -1, -1)]), Callable.YES),
        (side(2, outputs=[tensor("y"), tensor("z")]), Callable.YES),
        (side(2, outputs=[tensor("y", "FP32", 1, 4)]), Callable.YES),
        (side(2, inputs=[tensor("x", "FP64")]), Callable.NO),
        (side(2, inputs=[tensor("x", "FP32", 1, 4)]), Callable.NO),
        (side(2, inputs=[tensor("x", "FP32", -1, 5)]), Callable.NO),
        (side(2, inputs=[tensor(), tensor("more")]), Callable.NO),
        (side(2, inputs=[tensor("renamed")]), Callable.NO),
        (side(2, outputs=[tensor("z")]), Callable.NO),
        (side(2, outputs=[tensor("y", "FP32", -1, -1)]), Callable.NO),
        (side(2, inputs=[], outputs=[]), Callable.UNKNOWN),
    ],
)
def test_a_caller_of_the_left_can_or_cannot_call_the_right(right: Side, verdict: Callable) -> None:
    compared = compare(side(), right)
    assert compared.callable is verdict
    assert bool(compared.reasons) is (verdict is Callable.NO)


def test_versions_that_do_not_say_are_not_called_compatible() -> None:
    silent = side(inputs=[], outputs=[])
    assert compare(silent, silent).callable is Callable.UNKNOWN


def test_everything_that_differs_is_listed() -> None:
    left = side(
        metrics={"auc": 0.8, "old": 1.0}, params={"depth": "3"}, lineage={"run": "a"},
        files=(FileEntry("m", "1" * 64, 1), FileEntry("gone", "2" * 64, 1)),
    )  # fmt: skip
    right = side(
        2, metrics={"auc": 0.9, "new": 2.0}, params={"depth": "4"}, lineage={"run": "a"},
        files=(FileEntry("m", "3" * 64, 1), FileEntry("added", "4" * 64, 1)),
    )  # fmt: skip
    compared = compare(left, right)
    auc, new, old = compared.metrics
    assert (auc.difference, auc.share) == (pytest.approx(0.1), pytest.approx(0.125))
    assert (new.verdict, old.verdict) == (Verdict.ADDED, Verdict.REMOVED)
    assert compared.params[0].verdict is Verdict.CHANGED
    assert [(f.path, str(f.verdict)) for f in compared.files] == [
        ("added", "added"), ("gone", "removed"), ("m", "changed"),
    ]  # fmt: skip
    assert compared.lineage[0].verdict is Verdict.SAME
    assert not compared.same_bytes
