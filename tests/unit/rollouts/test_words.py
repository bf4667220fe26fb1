"""What strategies and their steps are called."""

from datetime import timedelta

import pytest

from apps.rollouts.domain import document, words
from controlplane.kernel.figures import THIN

CLICKED = {"name": "clicked", "title": "Clicked"}
EVERY = [
    {"kind": "all_at_once"},
    {"kind": "recreate"},
    {"kind": "canary"},
    {"kind": "linear", "by": 10},
    {"kind": "blue_green", "ask": True},
    {"kind": "shadow", "then": [{"weight": 10}]},
    {"kind": "ab", "metric": CLICKED, "sticky": {"by": "header", "name": "x-user-id"}},
    {"kind": "bandit", "metric": CLICKED},
]


def _said(told: dict[str, object]) -> str:
    return words.sentence(document.parse(told)).replace(THIN, " ")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            {"kind": "canary"},
            "5, 10, 25, 50, then 100 %; each at least 2 min and judged not worse; "
            "takes at least 8 min.",
        ),
        (
            {"kind": "linear", "by": 10, "judge": False},
            "10 to 90 % by 10, then 100 %; each at least 2 min; takes at least 18 min.",
        ),
        (
            {"kind": "canary", "steps": [{"weight": 20, "judge": False, "ask": True}]},
            "20, then 100 %; at least 2 min and confirmed by a person.",
        ),
        (
            {
                "kind": "canary",
                "steps": [
                    {"weight": 5, "hold_seconds": 60, "ask": True},
                    {"weight": 50, "hold_seconds": 600, "judge": False},
                ],
            },
            "5, 50, then 100 %; each 1 min to 10 min at least, judged not worse at 5 % and "
            "confirmed by a person at 5 %; takes at least 11 min.",
        ),
        (
            {"kind": "blue_green"},
            "At the preview address for at least 1 min; then all requests at once.",
        ),
        (
            {"kind": "shadow"},
            "Copies of 100 % of requests for at least 10 min, judged not worse; "
            "then a person decides; then 100 %.",
        ),
        ({"kind": "all_at_once"}, "All at once, as soon as its golden requests are answered."),
    ],
)
def test_a_strategy_is_one_sentence(told: dict[str, object], said: str) -> None:
    assert _said(told) == said


@pytest.mark.parametrize("told", EVERY, ids=lambda told: str(told["kind"]))
def test_every_strategy_ends_with_the_whole_traffic(told: dict[str, object]) -> None:
    strategy = document.parse(told)
    lines = words.step_lines(strategy)
    assert words.sentence(strategy).endswith(".")
    assert "all requests go to it" in lines[-1].what or words.percent(100) in lines[-1].what
    assert all(line.what and line.goes_on and line.otherwise for line in lines)


def test_without_anything_live_there_is_one_step_and_no_way_back() -> None:
    (line,) = words.step_lines(document.parse({"kind": "canary"}), has_stable=False)
    assert line.otherwise == "nobody answers"
    assert "warm" not in line.what


def test_a_rung_says_what_happens_when_the_judge_has_no_answer() -> None:
    told = {"kind": "canary", "on_deadline": "abort", "steps": [{"weight": 5}]}
    first = words.step_lines(document.parse(told))[0]
    assert first.goes_on == f"it was held for 2{THIN}min and it is judged not worse"
    assert first.otherwise == (
        "proven worse, everything goes back to what was live; "
        f"it goes back after 1{THIN}h without an answer"
    )


def test_the_least_time_of_a_strategy_without_holds_is_not_told() -> None:
    assert words.least_time_words(document.parse({"kind": "all_at_once"})) == ""
    assert words.least_time_words(document.parse({"kind": "canary"})) == f"8{THIN}min"
    assert words.length(timedelta(seconds=45)) == f"45{THIN}s"
