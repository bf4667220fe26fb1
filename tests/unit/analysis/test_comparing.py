"""Answers of two sides find each other, and are compared as a person would."""

import math
import random
from dataclasses import replace

import pytest

from apps.analysis.domain import comparing
from apps.analysis.domain.answers import Element, Kept, Output
from apps.analysis.domain.comparing import Compared, Pair, compare, join
from controlplane.kernel.quantities import Tally


def output(name: str, datatype: str, *data: Element, **more: object) -> Output:
    made = Output(name, datatype, (len(data),), data)
    return replace(made, **more)  # type: ignore[arg-type]  # columns of the output


def label(*data: Element, datatype: str = "INT64", **more: object) -> Output:
    return output("label", datatype, *data, **more)


def scores(*data: Element, **more: object) -> Output:
    return output("score", "FP32", *data, **more)


def kept(*outputs: Output, **more: object) -> Kept:
    made = Kept(
        port=1, sequence=1, at=10.0, request_id="a", body="b", status=200, milliseconds=2.0,
        outputs=outputs,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]  # columns of the answer


def compared(stable: Kept, canary: Kept, tolerance: float = 0.01) -> Compared:
    return compare(Pair(stable, canary), tolerance=tolerance)


def of(stable: Output, canary: Output) -> Compared:
    return compared(kept(stable), kept(canary))


def test_answers_to_one_request_are_joined() -> None:
    ours = [kept(request_id="a"), kept(request_id="b"), kept(request_id="c")]
    theirs = [kept(request_id="c", port=2), kept(request_id="a", port=2), kept(request_id="d")]
    joined = join(ours, theirs)
    assert [(p.stable.request_id, p.canary.request_id) for p in joined.pairs] == [
        ("a", "a"), ("c", "c"),
    ]  # fmt: skip
    assert [one.request_id for one in joined.unmatched_stable] == ["b"]
    assert [one.request_id for one in joined.unmatched_canary] == ["d"]


def test_one_id_with_two_bodies_is_two_requests() -> None:
    joined = join([kept(body="x")], [kept(body="y")])
    assert joined.pairs == ()


def test_a_request_that_came_twice_is_paired_in_order() -> None:
    ours = [kept(at=2.0, sequence=2), kept(at=1.0, sequence=1)]
    theirs = [kept(at=3.0, sequence=7), kept(at=4.0, sequence=8), kept(at=5.0, sequence=9)]
    joined = join(ours, theirs)
    assert [(p.stable.sequence, p.canary.sequence) for p in joined.pairs] == [(1, 7), (2, 8)]
    assert [one.sequence for one in joined.unmatched_canary] == [9]


def test_replicas_are_one_side() -> None:
    joined = join([kept(port=1), kept(port=2, request_id="z")], [kept(port=3, request_id="z")])
    assert [pair.stable.port for pair in joined.pairs] == [2]


@pytest.mark.parametrize("unread", ["stable", "canary"])
def test_a_body_that_was_refused_unread_is_joined_by_the_id(unread: str) -> None:
    ours, theirs = kept(body="x"), kept(body="x", port=2)
    refused = replace(ours if unread == "stable" else theirs, body="", status=413)
    pair = (refused, theirs) if unread == "stable" else (ours, refused)
    joined = join([pair[0]], [pair[1]])
    assert joined.pairs == (Pair(*pair),)
    assert not compare(joined.pairs[0], tolerance=1).agrees


def test_who_has_a_body_finds_it_before_who_has_none() -> None:
    ours = [kept(body="", at=1.0, status=413), kept(body="x", at=2.0)]
    theirs = [kept(body="x", at=1.5, port=2), kept(body="y", at=1.6, port=2)]
    joined = join(ours, theirs)
    assert [(p.stable.body, p.canary.body) for p in joined.pairs] == [("", "y"), ("x", "x")]


def test_joining_loses_and_invents_nothing() -> None:
    chance = random.Random(4)
    for _ in range(200):
        ours, theirs = (
            [
                kept(
                    port=port, sequence=n, at=chance.random(), request_id=chance.choice("ab"),
                    body=chance.choice(["", "x", "y"]),
                )
                for n in range(chance.randrange(8))
            ]
            for port in (1, 2)
        )  # fmt: skip
        joined = join(ours, theirs)
        left = [p.stable for p in joined.pairs] + list(joined.unmatched_stable)
        right = [p.canary for p in joined.pairs] + list(joined.unmatched_canary)
        assert sorted(left, key=lambda a: a.sequence) == ours
        assert sorted(right, key=lambda a: a.sequence) == theirs
        for pair in joined.pairs:
            assert pair.stable.request_id == pair.canary.request_id
            assert pair.stable.body == pair.canary.body or "" in (
                pair.stable.body, pair.canary.body,
            )  # fmt: skip


AGREE = [
    pytest.param(label(1), label(1), id="labels"),
    pytest.param(label(1), label(1, datatype="INT32"), id="labels of another width"),
    pytest.param(label("é", datatype="BYTES"), label("é", datatype="BYTES"), id="texts"),
    pytest.param(label(True, datatype="BOOL"), label(True, datatype="BOOL"), id="yes or no"),
    pytest.param(scores(0.5), scores(0.509), id="within the tolerance"),
    pytest.param(scores(1000.0), scores(1009.0), id="within the tolerance, relative"),
    pytest.param(scores(math.nan), scores(math.nan), id="no number"),
    pytest.param(scores(math.inf), scores(math.inf), id="infinite"),
    pytest.param(scores(), scores(), id="nothing"),
    pytest.param(
        scores(0.5, step=3, digest="x"), scores(0.5, step=3, digest="y"), id="what was kept of it"
    ),
    pytest.param(label(1, step=2, digest="x"), label(1, step=2, digest="x"), id="a digest"),
]
DISAGREE = [
    pytest.param(label(1), label(0), True, "“label” is 0 with the canary, and 1", id="labels"),
    pytest.param(
        label(1, 1, 1), label(1, 0, 0), True, "1 more differ", id="more labels than one"
    ),
    pytest.param(
        label("a", datatype="BYTES"), label("b", datatype="BYTES"), True, "is b", id="texts"
    ),
    pytest.param(
        label(True, datatype="BOOL"), label(False, datatype="BOOL"), True, "is false", id="yes/no"
    ),
    pytest.param(
        label(1, step=2, digest="x"), label(1, step=2, digest="y"), True, "not kept", id="digest"
    ),
    pytest.param(scores(0.5), scores(0.52), None, "0.02 apart, and 0.01", id="numbers"),
    pytest.param(scores(1000.0), scores(1020.0), None, "apart", id="numbers, relative"),
    pytest.param(scores(0.5), scores(math.nan), None, "is nan", id="no number any more"),
    pytest.param(scores(math.inf), scores(1.0), None, "stable.", id="infinite"),
    pytest.param(scores(1.0, 2.0), scores(1.0), None, "shape", id="another shape"),
    pytest.param(scores(1.0), label(1), None, "has no output “score”", id="a missing output"),
    pytest.param(
        scores(1.0), output("score", "BYTES", "x"), None, "is x", id="a text for a number"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("stable", "canary"), AGREE)
def test_what_agrees(stable: Output, canary: Output) -> None:
    found = of(stable, canary)
    assert found.agrees
    assert (found.problem, found.stable, found.canary) == ("", "", "")
    assert not found.label_flip


@pytest.mark.parametrize(("stable", "canary", "flip", "words"), DISAGREE)
def test_what_disagrees(stable: Output, canary: Output, flip: bool | None, words: str) -> None:
    found = of(stable, canary)
    assert not found.agrees
    assert found.label_flip is flip
    assert words in found.problem
    assert found.stable
    assert found.canary


def test_the_largest_difference_of_all_outputs_is_told() -> None:
    ours = kept(scores(0.1, 0.2), output("other", "FP64", 10.0))
    theirs = kept(scores(0.1, 0.201), output("other", "FP64", 10.5))
    found = compared(ours, theirs, tolerance=1)
    assert found.agrees
    assert found.max_difference == pytest.approx(0.05)


def test_labels_alone_have_no_difference_of_numbers() -> None:
    assert of(label(1), label(1)).max_difference is None
    assert of(label(1), label(1)).label_flip is False
    assert of(scores(0.1), scores(0.1)).label_flip is None


def test_an_output_that_only_the_canary_has_is_not_looked_at() -> None:
    assert compared(kept(label(1)), kept(scores(0.3), label(1))).agrees


def test_samples_that_were_taken_unlike_are_compared_where_they_meet() -> None:
    whole = Output("score", "FP32", (12,), tuple(float(n) for n in range(12)))
    third = replace(whole, data=whole.data[::3], step=3, digest="x")
    half = replace(whole, data=whole.data[::2], step=2, digest="x")
    assert of(third, half).agrees
    assert of(whole, half).agrees
    spoilt = replace(half, data=(0.0, 2.0, 4.0, 99.0, 8.0, 10.0))  # 6 is in both
    assert not of(third, spoilt).agrees
    assert of(third, replace(half, data=(0.0, 99.0, 4.0, 6.0, 8.0, 10.0))).agrees  # 2 is not


def test_of_what_was_not_kept_nothing_is_claimed() -> None:
    none = replace(scores(), shape=(5000,), step=0, digest="x")
    found = of(none, replace(none, digest="y"))
    assert found.agrees
    assert found.max_difference is None


@pytest.mark.parametrize(
    ("stable", "canary", "agrees"),
    [(200, 200, True), (400, 400, True), (200, 500, False), (500, 200, False), (400, 422, False)],
)
def test_statuses_must_be_the_same(stable: int, canary: int, agrees: bool) -> None:
    found = compared(kept(status=stable), kept(status=canary))
    assert found.agrees is agrees
    assert agrees or f"answered {stable}, and the canary {canary}" in found.problem


PROBABLE = Output("probabilities", "FP32", (2, 3), (0.1, 0.8, 0.1, 0.2, 0.7, 0.1))


@pytest.mark.parametrize(
    ("stable", "slice_"),
    [
        pytest.param(kept(scores(0.3), label(7)), "7", id="the first label"),
        pytest.param(kept(label(2, 2, 2)), "2", id="one label of many rows"),
        pytest.param(kept(label(1, 2)), comparing.SEVERAL, id="more than one"),
        pytest.param(kept(label(True, datatype="BOOL")), "true", id="yes or no"),
        pytest.param(kept(label("x" * 99, datatype="BYTES")), "x" * 59 + "…", id="long text"),
        pytest.param(kept(label("a\0b", datatype="BYTES")), "a␀b", id="what a row cannot keep"),
        pytest.param(kept(PROBABLE), "1", id="the likeliest class"),
        pytest.param(kept(scores(0.3)), comparing.ALL, id="one number"),
        pytest.param(kept(scores(3.0, -2.0)), comparing.ALL, id="no probabilities"),
        pytest.param(kept(), comparing.ALL, id="nothing"),
        pytest.param(kept(status=500), comparing.NO_ANSWER, id="no answer"),
    ],
)
def test_a_slice_is_the_label_that_stable_gave(stable: Kept, slice_: str) -> None:
    assert compared(stable, kept(label(99))).slice == slice_


def test_a_long_answer_is_shortened() -> None:
    many = kept(scores(*(0.123456789 for _ in range(500))))
    assert len(comparing.shortened(many)) <= 240
    assert comparing.shortened(kept(label(1), scores(0.25))) == "label: 1; score: 0.25"


def test_times_of_both_are_told() -> None:
    found = compared(kept(milliseconds=1.5, at=7.0), kept(milliseconds=4.0, at=8.0))
    assert (found.stable_ms, found.canary_ms, found.at) == (1.5, 4.0, 7.0)


def test_the_judge_gets_the_share_of_disagreements() -> None:
    agreed, other = of(label(1), label(1)), of(label(1), label(0))
    assert comparing.tally([agreed, other, agreed, agreed]) == Tally(4, 1, 1)
    assert comparing.tally([]) == Tally(0, 0, 0)
