"""What a comparison adds up to, survives a row of the database, and is said in a sentence."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.analysis.domain import comparison as made
from apps.analysis.domain.comparing import Compared
from apps.analysis.domain.comparison import Comparison, add, sentence, worst_slices
from apps.monitoring.domain import histogram
from controlplane.kernel.figures import THIN

ALIKE = Compared(
    request_id="a", at=1.0, agrees=True, label_flip=False, max_difference=0.0, slice="3",
    stable_status=200, canary_status=200, stable_ms=2.0, canary_ms=2.0,
)  # fmt: skip
FLIPPED = replace(
    ALIKE, agrees=False, label_flip=True, problem="“label” is 0.", stable="1", canary="0"
)


def said(comparison: Comparison) -> str:
    return sentence(comparison).replace(THIN, " ")


def many(count: int, **change: Any) -> list[Compared]:
    return [replace(ALIKE, **change)] * count


def test_nothing_is_said_to_be_nothing() -> None:
    assert said(Comparison()) == "No answers have been compared yet."
    assert Comparison().agreement is None
    assert Comparison().longer_ms is None
    assert worst_slices(Comparison()) == []


def test_counts_add_up() -> None:
    failed = replace(FLIPPED, canary_status=503, label_flip=None)
    found = add(Comparison(), [ALIKE, FLIPPED, failed], unmatched_stable=2, lost=5)
    found = add(found, [ALIKE], unmatched_canary=1, lost=1, restarts=1)
    assert (found.pairs, found.agreeing, found.labelled, found.flips) == (4, 2, 3, 1)
    assert (found.stable_errors, found.canary_errors) == (0, 1)
    assert (found.unmatched_stable, found.unmatched_canary) == (2, 1)
    assert (found.lost, found.restarts) == (6, 1)
    assert found.agreement == 0.5


def test_a_refusal_is_no_failure_of_ours() -> None:
    found = add(Comparison(), many(1, stable_status=400, canary_status=400))
    assert (found.stable_errors, found.canary_errors) == (0, 0)


def test_looks_may_be_cut_anywhere() -> None:
    looks = [
        replace(ALIKE, at=float(n), agrees=n % 3 > 0, slice=str(n % 7), canary_ms=float(n))
        for n in range(60)
    ]
    by_one = Comparison()
    for one in looks:
        by_one = add(by_one, [one])
    assert by_one == add(add(Comparison(), looks[:17]), looks[17:])


def test_differences_are_counted_by_their_size() -> None:
    sizes = (0.0, 5e-9, 0.05, 7.0, 1e6, math.inf, None)
    found = add(Comparison(), [replace(ALIKE, max_difference=size) for size in sizes])
    counted = dict(zip((*made.DIFFERENCES, math.inf), found.differences, strict=True))
    assert {bound: n for bound, n in counted.items() if n} == {
        0: 1, 1e-8: 1, 0.1: 1, 10: 1, math.inf: 2,
    }  # fmt: skip


def test_both_sides_latencies_are_kept() -> None:
    found = add(Comparison(), many(10, stable_ms=4.0, canary_ms=40.0))
    assert found.stable_latency[histogram.bucket_of(4.0)] == 10
    assert found.canary_latency[histogram.bucket_of(40.0)] == 10
    assert (found.stable_ms, found.canary_ms) == (40.0, 400.0)
    assert found.longer_ms == pytest.approx(36, abs=15)


@pytest.mark.parametrize("longer", [-30.0, -1.4, -0.02, 0.0, 0.02, 0.4, 1.4, 260.0])
def test_the_median_of_how_much_longer_is_near_the_truth(longer: float) -> None:
    found = add(Comparison(), many(101, stable_ms=100.0, canary_ms=100.0 + longer))
    assert found.longer_ms == pytest.approx(longer, rel=0.5, abs=0.05)


def test_a_time_beyond_all_buckets_is_at_least_the_last() -> None:
    assert add(Comparison(), many(3, canary_ms=1e9)).longer_ms == 10_000
    assert add(Comparison(), many(3, stable_ms=1e9)).longer_ms == -10_000


def test_the_number_of_slices_is_bounded() -> None:
    found = add(Comparison(), [replace(ALIKE, slice=str(n)) for n in range(200)])
    assert len(found.slices) == made.SLICES + 1
    assert found.slices[made.OTHER] == (150, 150)
    assert add(found, many(2, slice="0")).slices["0"] == (3, 3)


def test_the_worst_slices_come_first_and_small_ones_not_at_all() -> None:
    looks = [
        *many(30, slice="good"),
        *many(25, slice="bad"),
        *many(5, slice="bad", agrees=False),
        *many(40, slice="worse"),
        *many(40, slice="worse", agrees=False),
        *many(19, slice="small", agrees=False),
    ]
    found = worst_slices(add(Comparison(), looks))
    assert [(one.label, one.pairs, one.agreeing) for one in found] == [
        ("worse", 80, 40), ("bad", 30, 25), ("good", 30, 30),
    ]  # fmt: skip
    assert found[0].share == 0.5
    assert worst_slices(add(Comparison(), looks), least=10)[0].label == "small"


def test_the_newest_disagreements_are_examples() -> None:
    looks = [replace(FLIPPED, at=float(n), request_id=str(n)) for n in range(30)]
    found = add(add(Comparison(), looks[10:]), [*looks[:10], ALIKE])
    assert [one.request_id for one in found.examples] == [str(n) for n in range(29, 9, -1)]
    assert (found.examples[0].stable, found.examples[0].canary) == ("1", "0")


@given(
    st.lists(
        st.builds(
            Compared,
            request_id=st.text(max_size=5),
            at=st.floats(0, 1e9),
            agrees=st.booleans(),
            label_flip=st.none() | st.booleans(),
            max_difference=st.none() | st.floats(0),
            slice=st.sampled_from("abc"),
            stable_status=st.sampled_from([200, 500]),
            canary_status=st.sampled_from([200, 500]),
            stable_ms=st.floats(0, 1e6),
            canary_ms=st.floats(0, 1e6),
            problem=st.text(max_size=5),
        ),
        max_size=30,
    )
)
def test_it_survives_a_row_of_the_database(looks: list[Compared]) -> None:
    found = add(Comparison(), looks, lost=3, problem="why")
    written = json.dumps(made.to_json(found), allow_nan=False)
    assert made.from_json(json.loads(written)) == found


def test_an_empty_column_is_an_empty_comparison() -> None:
    assert made.from_json({}) == Comparison()


def test_what_a_later_version_wrote_is_read_as_far_as_it_is_known() -> None:
    written = made.to_json(add(Comparison(), [ALIKE])) | {"unheard_of": 1}
    assert made.from_json(written) == add(Comparison(), [ALIKE])


def test_the_sentence_says_it_all() -> None:
    looks = [
        *many(9570, canary_ms=3.4),
        *many(198, slice="7", canary_ms=3.4),
        *many(6, slice="7", agrees=False, label_flip=True, canary_ms=3.4),
        *many(38, agrees=False, label_flip=False, canary_ms=3.4),
    ]
    assert said(add(Comparison(), looks)) == (
        "9,812 answers compared: 99.5 % agree, 6 labels flipped, the worst slice is “7” with "
        "97.0 % of 204. The canary takes 1.2 ms longer at the median."
    )


SENTENCES = [
    pytest.param(many(1), {}, "1 answer compared: all agree.", id="one"),
    pytest.param(
        [*many(99_999), FLIPPED], {}, "100,000 answers compared: 99.9 % agree, 1 label flipped.",
        id="100 % is said of all only",
    ),
    pytest.param(
        many(2, agrees=False, label_flip=None), {}, "2 answers compared: 0.0 % agree.",
        id="no labels",
    ),
    pytest.param(many(2), {}, "takes as long as stable at the median.", id="as fast"),
    pytest.param(many(2, canary_ms=0.5), {}, "ms less at the median.", id="faster"),
    pytest.param(
        many(2, canary_status=500, agrees=False), {}, "The canary failed twice, stable never.",
        id="failures",
    ),
    pytest.param(
        many(2), {"unmatched_stable": 3, "unmatched_canary": 1, "lost": 1, "restarts": 1},
        "1 answer of the canary had no counterpart; 1 was kept no more when they were to be read; "
        "servers were restarted once.",
        id="what is missing",
    ),
    pytest.param(
        [], {"unmatched_stable": 812},
        "No answers have been compared yet. 812 answers of stable had no counterpart.",
        id="a canary that says nothing",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("looks", "more", "words"), SENTENCES)
def test_the_sentence_says(looks: list[Compared], more: dict[str, int], words: str) -> None:
    assert words in said(add(Comparison(), looks, **more))  # type: ignore[arg-type]  # counts


def test_that_nothing_can_be_compared_is_said_first_and_taken_back() -> None:
    blind = add(Comparison(), [], problem="Stable keeps no answers.")
    assert said(blind) == "Stable keeps no answers."
    assert said(add(blind, many(3))).startswith("3 answers compared")
