from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.monitoring.domain import feedback, windows
from apps.monitoring.domain.feedback import Outcome
from controlplane.kernel.errors import Invalid
from controlplane.kernel.quantities import Tally

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
CLICK = Outcome(request_id="r-1", revision=1, metric="clicked", value=1.0)


def refusal(*outcomes: Outcome) -> Invalid:
    with pytest.raises(Invalid) as refused:
        feedback.check(outcomes, now=NOW)
    assert refused.value.remedy
    return refused.value


def test_an_outcome_with_everything_is_taken() -> None:
    whole = replace(CLICK, segment="Île-de-France", at=NOW - timedelta(days=40), value=-3.25)
    feedback.check([CLICK, whole], now=NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", ""), ("request_id", "x" * 129), ("request_id", "a b"),
        ("request_id", "a\n"), ("metric", ""), ("metric", "Clicked"),
        ("metric", "-x"), ("metric", "x" * 65), ("metric", "a b"),
        ("value", float("nan")), ("value", float("inf")), ("value", -2e12),
        ("segment", "x" * 65), ("segment", "a\nb"), ("at", NOW + timedelta(minutes=6)),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_its_place(field: str, value: Any) -> None:
    changed: dict[str, Any] = {field: value}
    error = refusal(CLICK, replace(CLICK, **changed))
    assert (error.field, error.code) == (f"items.1.{field}", "feedback.malformed")


def test_a_clock_that_runs_a_little_ahead_is_no_fault() -> None:
    feedback.check([replace(CLICK, at=NOW + timedelta(minutes=5))], now=NOW)


@pytest.mark.parametrize("count", [0, 1001])
def test_a_call_holds_one_to_a_thousand(count: int) -> None:
    assert refusal(*[CLICK] * count).code == "feedback.how_many"


def test_a_segment_for_each_caller_is_refused() -> None:
    many = [replace(CLICK, segment=f"user-{n}") for n in range(51)]
    assert refusal(*many).code == "feedback.too_many_segments"


def test_of_the_same_outcome_sent_twice_the_first_counts() -> None:
    again, other = replace(CLICK, value=0.0), replace(CLICK, metric="bought")
    assert feedback.first_of_each([CLICK, other, again]) == {
        ("r-1", "bought"): other,
        ("r-1", "clicked"): CLICK,
    }


def test_outcomes_are_summed_by_revision_metric_and_segment() -> None:
    told = [
        replace(CLICK, value=3.0, metric="sold"),
        replace(CLICK, value=-1.0, metric="sold"),
        replace(CLICK, value=2.0, metric="sold", segment="eu"),
        replace(CLICK, revision=2),
    ]
    assert feedback.sums(told) == {
        (1, "sold", ""): Tally(2, 2, 10),
        (1, "sold", "eu"): Tally(1, 2, 4),
        (2, "clicked", ""): Tally(1, 1, 1),
    }


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_two_calls_take_the_same_outcomes_in_the_same_order(order: list[int]) -> None:
    told = [replace(CLICK, request_id=f"r-{n}", revision=n + 1) for n in order]
    assert list(feedback.first_of_each(told)) == [(f"r-{n}", "clicked") for n in range(6)]
    assert [revision for revision, _, _ in feedback.sums(told)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("seconds_before", "overtaken"), [(-1, False), (0, False), (1, True), (30, True), (31, False)]
)
def test_a_read_that_is_a_moment_older_than_the_last_was_overtaken(
    seconds_before: int, overtaken: bool
) -> None:
    at = NOW - timedelta(seconds=seconds_before)
    assert windows.is_overtaken(at, NOW) is overtaken
