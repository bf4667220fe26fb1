"""The difference between what is live and what is proposed: every sentence must be true."""

from dataclasses import replace

import pytest

from apps.registry.domain.compare import Side
from apps.registry.domain.inspected import Tensor
from apps.releases.domain import judging, requirements
from apps.releases.domain.difference.comparison import FIRST, compare
from apps.releases.domain.difference.values import NOTHING, Price, Proof, Row, Subject, Traffic
from apps.releases.domain.judging import Direction, Measured, Tone
from controlplane.kernel.digests import FileEntry

X: Tensor = {"name": "X", "datatype": "FP32", "shape": [-1, 30]}
LABEL: Tensor = {"name": "label", "datatype": "INT64", "shape": [-1]}


def side(number: int = 41, **columns: object) -> Side:
    told = {
        "inputs": [X],
        "outputs": [LABEL],
        "files": (FileEntry("model.onnx", "a" * 64, 1000),),
        "size": 1000,
        "lineage": {"commit": "3e9a0d4c11", "dataset digest": "sha256:" + "5" * 64},
    }
    return Side(number=number, **{**told, **columns})  # type: ignore[arg-type]


def subject(**columns: object) -> Subject:
    told = {
        "side": side(),
        "team": "fraud",
        "risk_tier": "high",
        "variant": "onnx",
        "bundle": "sha256:" + "1" * 64,
        "runtime": "onnxruntime",
        "replicas": 2,
        "proof": Proof(
            p50_ms=2.0, p95_ms=4.0, p99_ms=6.0, throughput=1000.0, memory_mb=400.0, size=1000,
            max_difference=1e-6, agreement=1.0,
        ),
        "metrics": {"auc": Measured(0.90, 0.89, 0.91)},
        "requirements": ("onnxruntime==1.30.2", "numpy==2.1.0"),
    }  # fmt: skip
    return Subject(**{**told, **columns})  # type: ignore[arg-type]


LIVE = subject(revision=17)


def row(name: str, *, live: Subject | None = LIVE, **more: object) -> Row:
    proposed = more.pop("proposed", subject())
    told = compare(live, proposed, **more)  # type: ignore[arg-type]
    return next(r for r in told.rows() if r.name == name)


def test_nothing_live_is_said_and_nothing_is_better_or_worse() -> None:
    told = compare(None, subject(), tolerance=1e-3)
    assert told.first
    assert told.sentence == FIRST
    assert {r.tone for r in told.rows()} <= {Tone.SAME, Tone.UNKNOWN}
    assert {r.live for r in told.rows()} == {NOTHING}


def test_two_equal_sides_differ_in_nothing() -> None:
    told = compare(LIVE, subject(), tolerance=1e-3)
    assert {r.tone for r in told.rows()} == {Tone.SAME}
    assert told.sentence == "Nothing that was measured is clearly better or worse."
    assert told.callers == "Callers need no change."
    assert told.breaks is False
    assert not any(r.lines for r in told.rows())


@pytest.mark.parametrize(
    ("proposed", "tone", "meaning"),
    [
        (Measured(0.95, 0.94, 0.96), Tone.BETTER, "Better by 0.05"),
        (Measured(0.80, 0.79, 0.81), Tone.WORSE, "Worse by 0.1"),
        (Measured(0.905, 0.895, 0.915), Tone.SAME, "No clear difference"),
        (Measured(0.95), Tone.UNKNOWN, "0.05 higher. Without an interval it may be chance."),
        (Measured(0.85), Tone.UNKNOWN, "0.05 lower. Without an interval it may be chance."),
    ],
)
def test_a_metric_is_better_only_with_an_interval_that_leaves_zero_out(
    proposed: Measured, tone: Tone, meaning: str
) -> None:
    told = row("auc", proposed=subject(metrics={"auc": proposed}))
    assert (told.tone, told.meaning) == (tone, meaning)


def test_a_smaller_loss_is_better() -> None:
    live = subject(metrics={"log_loss": Measured(0.30, 0.29, 0.31)})
    then = subject(metrics={"log_loss": Measured(0.20, 0.19, 0.21)})
    assert row("log_loss", live=live, proposed=then).tone is Tone.BETTER


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("auc", Direction.UP), ("PR-AUC", Direction.UP), ("val_accuracy", Direction.UP),
        ("f1_macro", Direction.UP), ("r2", Direction.UP), ("log_loss", Direction.DOWN),
        ("rmse", Direction.DOWN), ("test_mae", Direction.DOWN),
        ("mean_squared_error", Direction.DOWN),
        ("brier_score", Direction.DOWN), ("false_alarms", Direction.DOWN), ("ece", Direction.DOWN),
        ("n_rows", Direction.NEITHER), ("epochs", Direction.NEITHER),
    ],
)  # fmt: skip
def test_a_metrics_name_says_which_way_it_improves(name: str, direction: Direction) -> None:
    assert judging.direction_of(name) is direction


def test_a_metric_that_nobody_can_read_is_neither_better_nor_worse() -> None:
    live = subject(metrics={"epochs": Measured(10, 9, 11)})
    then = subject(metrics={"epochs": Measured(20, 19, 21)})
    told = row("epochs", live=live, proposed=then)
    assert (told.tone, told.meaning) == (Tone.SAME, "Higher by 10")


def test_a_metric_of_one_side_only_is_unknown() -> None:
    assert row("recall", proposed=subject(metrics={"recall": Measured(0.7)})).tone is Tone.UNKNOWN
    assert row("auc", proposed=subject(metrics={})).tone is Tone.UNKNOWN


def test_no_metric_at_all_is_unknown_never_blank() -> None:
    told = row("Metrics", live=subject(metrics={}), proposed=subject(metrics={}))
    assert told.tone is Tone.UNKNOWN
    assert "Nobody recorded a metric" in told.meaning


@pytest.mark.parametrize(
    ("p95", "tone", "meaning"),
    [
        (3.0, Tone.BETTER, "25 % faster"),
        (1.0, Tone.BETTER, "4 times faster"),
        (5.0, Tone.WORSE, "25 % slower"),
        (4.1, Tone.SAME, "About the same"),
        (None, Tone.UNKNOWN, "Not measured"),
    ],
)
def test_latency_is_told_as_faster_or_slower(p95: float | None, tone: Tone, meaning: str) -> None:
    told = row("Latency p95", proposed=subject(proof=replace(LIVE.proof, p95_ms=p95)))
    assert told.tone is tone
    assert told.meaning.replace("\u202f", " ") == meaning


def test_an_unmeasured_live_side_makes_nothing_better() -> None:
    told = row("Memory", live=subject(proof=Proof()))
    assert told.tone is Tone.UNKNOWN


def test_a_variant_outside_the_tolerance_is_worse() -> None:
    lossy = subject(proof=replace(LIVE.proof, max_difference=0.2))
    told = row("Largest difference to the original", proposed=lossy, tolerance=1e-3)
    assert (told.tone, told.meaning) == (Tone.WORSE, "More than the tolerance of 0.001")


def test_what_callers_see_keeps_what_is_not_the_models_own() -> None:
    faster = subject(proof=replace(LIVE.proof, p95_ms=1.0))
    seen = Traffic(minutes=60, requests=100, rps=10.0, errors=0.01, p95_ms=7.0)
    told = row("Latency p95 as callers see it", proposed=faster, traffic=seen)
    assert told.numbers == (7.0, 4.0)
    assert told.tone is Tone.BETTER


def test_silence_is_not_health() -> None:
    told = row("Requests", traffic=Traffic(minutes=60))
    assert (told.live, told.tone) == ("no request came", Tone.UNKNOWN)


def test_more_requests_than_the_proof_can_carry_is_worse() -> None:
    small = subject(proof=replace(LIVE.proof, throughput=3.0))
    told = row("Requests", proposed=small, traffic=Traffic(60, 3600, 10.0, 0.0, 5.0))
    assert told.tone is Tone.WORSE
    assert "cannot carry" in told.meaning


def test_costs_are_left_out_without_a_price_and_say_what_they_assume_with_one() -> None:
    names = [r.name for r in compare(LIVE, subject()).rows()]
    assert not any("Cost" in n for n in names)
    price = Price(0.36, "EUR")
    told = row("Cost of 1,000 predictions, fully used", price=price)
    assert told.numbers == pytest.approx((0.0001, 0.0001))
    then = compare(LIVE, subject(replicas=4), price=price)
    note = next(p.note for p in then.parts if p.key == "service")
    assert "A replica costs 0.36\u202fEUR an hour here." in note
    month = row("Cost of the replicas a month", proposed=subject(replicas=4), price=price)
    assert (month.tone, month.meaning) == (Tone.WORSE, "525.60\u202fEUR a month more")


def test_an_input_of_another_type_makes_callers_change() -> None:
    wider: Tensor = {"name": "X", "datatype": "FP64", "shape": [-1, 30]}
    told = compare(LIVE, subject(side=side(42, inputs=[wider])))
    assert told.breaks is True
    assert told.callers == "Callers must change: Input X is FP64 instead of FP32."
    signature = next(r for r in told.rows() if r.name == "Signature")
    assert signature.tone is Tone.WORSE
    assert [f"{line.sign} {line.text}" for line in signature.lines] == [
        "- input X: FP32 [n, 30]",
        "+ input X: FP64 [n, 30]",
    ]


def test_one_output_more_asks_nothing_of_callers() -> None:
    more: Tensor = {"name": "p", "datatype": "FP32", "shape": [-1, 2]}
    told = compare(LIVE, subject(side=side(42, outputs=[LABEL, more])))
    assert told.callers == "One output more. Callers need no change."


def test_a_signature_that_one_side_keeps_to_itself_is_unknown() -> None:
    told = compare(LIVE, subject(side=side(42, inputs=[], outputs=[])))
    assert told.breaks is None
    assert row("Signature", proposed=subject(side=side(42, inputs=[]))).tone is Tone.UNKNOWN


def test_files_tell_which_bytes_are_others() -> None:
    files = (FileEntry("model.onnx", "b" * 64, 1000), FileEntry("card.md", "c" * 64, 5))
    told = row("Files", proposed=subject(side=side(42, files=files)))
    assert told.meaning == "1 added, 1 changed"
    assert [line.sign for line in told.lines] == ["+", "-", "+"]


def test_settings_tell_what_moved() -> None:
    then = subject(replicas=4, configuration={"intra_op_threads": 4})
    told = row("Runtime and configuration", proposed=then)
    assert told.meaning == "Changes: intra_op_threads 4 is new, replicas 2 to 4"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (["a==1"], ["a==1"], []),
        (["a==1"], ["A == 1"], []),
        (["numpy==1.2"], ["numpy==1.3"], ["numpy 1.2 to 1.3"]),
        (["numpy==1.2", "category-encoders==2"], ["numpy==1.2"], ["category-encoders is gone"]),
        ([], ["scikit_learn>=1.5 # why"], ["scikit-learn >=1.5 is new"]),
        (["# a comment", "--hash=sha256:0"], [], []),
        (["uvicorn[standard]==0.30"], ["uvicorn==0.30"], ["uvicorn [standard] 0.30 to 0.30"]),
    ],
)
def test_dependencies_by_name(before: list[str], after: list[str], words: list[str]) -> None:
    assert [c.words for c in requirements.changes(before, after)] == words


def test_the_sentence_names_what_is_better_and_what_is_worse() -> None:
    then = subject(
        metrics={"auc": Measured(0.95, 0.94, 0.96)},
        proof=replace(LIVE.proof, p95_ms=2.0, memory_mb=800.0),
    )
    told = compare(LIVE, then)
    assert told.sentence == "Better: auc, latency p95. Worse: memory."
