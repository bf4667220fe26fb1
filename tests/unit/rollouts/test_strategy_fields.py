"""A strategy's document as fields of a form, and back."""

from typing import Any

import pytest

from apps.rollouts.domain import document as documents
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.web import fields
from apps.rollouts.web.fields import Wrong

K = StrategyKind
LENGTHS = ("keep_warm", "hold", "deadline", "preview", "horizon", "every")
MANY = ("holds", "deadlines")


def whole(document: dict[str, Any]) -> dict[str, Any]:
    return documents.as_document(documents.parse(document))


def told(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what a form reads from what it shows."""
    read = dict(shown)
    for name in LENGTHS:
        if name in read:
            read[name] = fields.seconds_of(read[name])
    for name in MANY:
        if name in read:
            read[name] = fields.many_seconds_of(read[name])
    if "weights" in read:
        read["weights"] = fields.weights_of(read["weights"])
    return read


DOCUMENTS = [
    *({"kind": str(kind), **fields.EXAMPLES.get(kind, {})} for kind in K),
    {"kind": "canary", "steps": [{"weight": 7, "hold_seconds": 12.5}, {"weight": 30}]},
    {"kind": "canary", "steps": [{"weight": 7, "ask": True}, {"weight": 30}, {"weight": 40}]},
    {"kind": "canary", "steps": [{"weight": 7, "judge": False}, {"weight": 30, "ask": True}]},
    {"kind": "shadow", "mirror": 20, "then": [{"weight": 10, "deadline_seconds": 90}]},
    {
        "kind": "bandit", "metric": {"name": "paid", "kind": "mean"}, "floor": 10,
        "segments": {"header": "x-country", "values": ["de", "fr"]},
        "sticky": {"by": "cookie", "name": "visitor"},
    },
    {
        "kind": "canary", "alpha": 0.01, "limits": {"errors": 3},
        "metrics": [{"name": "errors", "source": "errors", "margin": {"absolute": 0.01}}],
    },
]  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: f"{d['kind']}-{len(d)}")
def test_what_fields_show_says_the_same_document_again(document: dict[str, Any]) -> None:
    base = whole(document)
    again = fields.document_of(K(base["kind"]), told(fields.fields_of(base)), base)
    assert whole(again) == base


def test_what_no_field_is_about_stays_as_it_is() -> None:
    base = whole(DOCUMENTS[-1])
    shown = fields.fields_of(base) | {"weights": "1, 2", "on_deadline": "abort"}
    changed = whole(fields.document_of(K.CANARY, told(shown), base))
    assert [step["weight"] for step in changed["steps"]] == [1, 2]
    assert changed["on_deadline"] == "abort"
    assert changed["limits"]["errors"] == 3
    assert changed["alpha"] == 0.01
    assert changed["metrics"] == base["metrics"]


def test_one_hold_counts_for_all_steps_and_otherwise_each_has_its_own() -> None:
    base = fields.usual(K.CANARY)
    shown = fields.fields_of(base) | {"weights": "10, 50", "holds": "1 min"}
    held = fields.document_of(K.CANARY, told(shown), base)["steps"]
    assert [step["hold_seconds"] for step in held] == [60, 60]
    shown |= {"holds": "1 min, 1 h"}
    held = fields.document_of(K.CANARY, told(shown), base)["steps"]
    assert [step["hold_seconds"] for step in held] == [60, 3600]
    with pytest.raises(Wrong) as wrong:
        fields.document_of(K.CANARY, told(shown | {"holds": "1, 2, 3"}), base)
    assert wrong.value.field == "holds"


def test_steps_that_differ_keep_who_decides_when_a_weight_is_added() -> None:
    base = whole(
        {"kind": "canary", "steps": [{"weight": 5, "ask": True}, {"weight": 50}, {"weight": 75}]}
    )
    shown = fields.fields_of(base)
    assert shown["ask"] == fields.AS_IT_IS
    steps = fields.document_of(K.CANARY, told(shown | {"weights": "5, 10, 50, 75"}), base)["steps"]
    assert [step["ask"] for step in steps] == [True, False, False, False]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (45, "45 s"), (90, "90 s"), (600, "10 min"), (5400, "90 min"), (3600, "1 h"),
        (86_400, "1 d"), (604_800, "7 d"), (12.5, "12.5 s"),
    ],
)  # fmt: skip
def test_a_length_of_time_reads_back_as_it_was_written(seconds: float, text: str) -> None:
    assert fields.length_text(seconds) == text
    assert fields.seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 600), ("10min", 600), (" 2 Hours ", 7200), ("1.5 h", 5400), ("30 seconds", 30)],
)
def test_a_length_of_time_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert fields.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1 min", "1e9", "10 weeks", "1 2", "٣ min"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time"):
        fields.seconds_of(text)


@pytest.mark.parametrize(
    ("text", "weights"),
    [("5, 10,25", [5, 10, 25]), ("5 % 10 %", [5, 10]), ("", []), ("1;2", [1, 2])],
)
def test_weights_are_read_as_people_write_them(text: str, weights: list[int]) -> None:
    assert fields.weights_of(text) == weights


@pytest.mark.parametrize("text", ["0", "101", "5, x", "5.5", "-5", "٣", "9" * 40])
def test_what_is_no_percent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no whole percent"):
        fields.weights_of(text)


def test_segments_need_a_header_and_values() -> None:
    base = fields.usual(K.BANDIT)
    shown = told(fields.fields_of(base))
    with pytest.raises(Wrong) as wrong:
        fields.document_of(K.BANDIT, shown | {"segment_header": "x-country"}, base)
    assert wrong.value.field == "segment_values"


def test_a_ladder_without_a_step_is_refused() -> None:
    base = fields.usual(K.CANARY)
    with pytest.raises(Wrong) as wrong:
        fields.document_of(K.CANARY, told(fields.fields_of(base)) | {"weights": []}, base)
    assert wrong.value.field == "weights"


@pytest.mark.parametrize("kind", list(K))
def test_every_kind_has_a_document_to_begin_with(kind: StrategyKind) -> None:
    assert documents.parse(fields.usual(kind)).kind is kind
