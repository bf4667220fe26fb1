"""Answers are kept within bounds, and can be read as often as a reader likes."""

import json
from typing import Any

import numpy as np
import pytest

from workers.runtimes.oip import kept
from workers.runtimes.oip.kept import ELEMENTS, PAGE, Kept, Note

LABEL = np.array([1])
HALF = np.array([[0.5, 0.5]], dtype=np.float32)


def keep(into: Kept, **outputs: Any) -> None:
    note = Note("id-1", "b0d1", outputs)
    into.add(note, status=200, seconds=0.0015, at=100.0)


def filled(answers: int, **bounds: int) -> Kept:
    made = Kept("run-1", **bounds)
    for number in range(answers):
        keep(made, number=np.array([number + 1]))
    return made


def page(of: Kept, **asked: int) -> dict[str, Any]:
    """Return a page as its reader sees it."""
    found: dict[str, Any] = json.loads(of.page(**asked))
    return found


def sequences(found: dict[str, Any]) -> list[int]:
    return [answer["sequence"] for answer in found["answers"]]


def only(into: Kept) -> dict[str, Any]:
    """Return the only answer, as it goes over the wire."""
    (answer,) = page(into, after=0)["answers"]
    found: dict[str, Any] = answer
    return found


def test_an_answer_is_kept_with_what_it_is_compared_by() -> None:
    made = Kept("run-1")
    keep(made, label=LABEL, probabilities=HALF)
    assert only(made) == {
        "sequence": 1,
        "at": 100.0,
        "request_id": "id-1",
        "body": "b0d1",
        "status": 200,
        "error": False,
        "milliseconds": 1.5,
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.5]},
        ],
    }


@pytest.mark.parametrize(("status", "error"), [(200, False), (400, False), (500, True)])
def test_only_what_failed_on_our_side_is_an_error(status: int, error: bool) -> None:
    made = Kept("run-1")
    made.add(Note("id-1"), status=status, seconds=0.1, at=1.0)
    assert only(made)["status"] == status
    assert only(made)["error"] is error
    assert only(made)["outputs"] == []


def test_reading_takes_nothing_away() -> None:
    made = filled(3)
    assert page(made, after=1) == page(made, after=1)
    assert sequences(page(made, after=1)) == [2, 3]


def test_pages_follow_one_another_without_a_gap() -> None:
    made = filled(2 * PAGE + 5)
    seen: list[int] = []
    found = page(made, after=0)
    while found["answers"]:
        seen += sequences(found)
        found = page(made, after=found["next"], limit=7)
    assert seen == list(range(1, 2 * PAGE + 6))
    assert found["next"] == found["last"] == 2 * PAGE + 5


def test_no_page_is_longer_than_the_bound() -> None:
    assert len(page(filled(PAGE + 1), after=0, limit=10_000)["answers"]) == PAGE


def test_a_page_of_large_answers_is_short_and_never_empty() -> None:
    made = Kept("run-1")
    for _ in range(10):
        keep(made, text=np.array(["x" * 200] * ELEMENTS, dtype=np.object_))
    assert 1 <= len(page(made, after=0)["answers"]) < 10


def test_the_oldest_go_first_and_are_counted_as_lost() -> None:
    made = filled(10, entries=4)
    found = page(made, after=2)
    assert sequences(found) == [7, 8, 9, 10]
    assert found["lost"] == 4
    assert page(made, after=8)["lost"] == 0


def test_the_bytes_are_bounded_whatever_the_number() -> None:
    made = Kept("run-1", octets=100_000)
    for _ in range(100):
        keep(made, wide=np.zeros(900))
    assert 1 < len(page(made, after=0)["answers"]) < 30


def test_an_answer_beyond_all_bounds_leaves_a_gap_and_no_failure() -> None:
    made = Kept("run-1", octets=1000)
    keep(made, wide=np.zeros(900))
    found = page(made, after=0)
    assert (found["answers"], found["lost"], found["next"]) == ([], 1, 1)


@pytest.mark.parametrize("after", [3, 4, 10**30])
def test_who_is_ahead_is_told_where_the_numbers_end(after: int) -> None:
    found = page(filled(3), after=after)
    assert (found["answers"], found["lost"], found["last"]) == ([], 0, 3)


def test_a_buffer_that_the_model_uses_again_changes_nothing() -> None:
    made, buffer = Kept("run-1"), np.array([1.0, 2.0])
    keep(made, score=buffer)
    buffer[:] = 9
    assert only(made)["outputs"][0]["data"] == [1.0, 2.0]


def test_an_output_that_lies_otherwise_in_memory_is_kept_row_by_row() -> None:
    made, batch = Kept("run-1"), np.arange(6.0).reshape(2, 3)
    keep(made, turned=batch.T, backwards=batch[::-1], part=batch[1:, ::2])
    turned, backwards, part = only(made)["outputs"]
    assert (turned["shape"], turned["data"]) == ([3, 2], [0, 3, 1, 4, 2, 5])
    assert backwards["data"] == [3, 4, 5, 0, 1, 2]
    assert part["data"] == [3, 5]


def test_of_a_large_output_an_even_sample_is_kept_and_a_digest_of_all() -> None:
    made, large = Kept("run-1"), np.arange(5000.0)
    keep(made, score=large)
    (output,) = only(made)["outputs"]
    assert output["data"] == large[::5].tolist()
    assert output["step"] == 5
    changed = large.copy()
    changed[1] = 7  # between the samples
    again = Kept("run-2")
    keep(again, score=changed)
    (other,) = only(again)["outputs"]
    assert other["data"] == output["data"]
    assert other["digest"] != output["digest"]


def test_a_label_stays_whole_beside_a_large_output() -> None:
    made = Kept("run-1")
    keep(made, embedding=np.zeros((1, 4096)), label=LABEL)
    embedding, label = only(made)["outputs"]
    assert label == {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}
    assert 0 < len(embedding["data"]) <= ELEMENTS - 1


def test_more_outputs_than_elements_keep_digests() -> None:
    made = Kept("run-1")
    keep(made, **{f"o{number}": np.zeros(2) for number in range(ELEMENTS + 1)})
    outputs = only(made)["outputs"]
    assert sum(len(output["data"]) for output in outputs) <= ELEMENTS
    assert all(output["digest"] for output in outputs if len(output["data"]) < 2)


def test_what_json_cannot_carry_is_spelt() -> None:
    made = Kept("run-1")
    keep(
        made,
        score=np.array([np.nan, np.inf, -np.inf, 1.5], dtype=np.float16),
        text=np.array(["ü", b"\xff", 7, "\ud800"], dtype=np.object_),
    )
    score, text = only(made)["outputs"]
    assert score["data"] == ["NaN", "Infinity", "-Infinity", 1.5]
    assert text["data"] == ["ü", "\\xff", "7", "\\ud800"]
    assert text["datatype"] == "BYTES"


def test_long_texts_are_shortened_and_still_told_apart() -> None:
    made = Kept("run-1")
    keep(made, text=np.array(["x" * 5000 + "a", "x" * 5000 + "b"], dtype=np.object_))
    first, second = only(made)["outputs"][0]["data"]
    assert len(first) < 250
    assert first != second


def test_a_request_without_an_id_and_one_with_a_huge_id_are_noted() -> None:
    assert kept.note([(b"host", b"x")]).request_id == ""
    assert len(kept.note([(kept.REQUEST_ID, b"y" * 5000)]).request_id) == 200


def test_an_empty_output_is_kept() -> None:
    made = Kept("run-1")
    keep(made, nothing=np.zeros((0, 3)))
    assert only(made)["outputs"][0]["shape"] == [0, 3]
    assert only(made)["outputs"][0]["data"] == []
