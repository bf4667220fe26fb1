"""Evidence and the split of requests, as drawings."""

import math
import re
from datetime import UTC, datetime, timedelta

from apps.rollouts.domain import curve
from apps.rollouts.domain.curve import HIGH, TOP, Evidence, Weight

BEGIN = datetime(2026, 11, 19, 13, 38, tzinfo=UTC)
END = BEGIN + timedelta(minutes=48)


def after(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def drawn(*looks: Evidence) -> curve.Curve:
    return curve.curve(looks, since=BEGIN, until=END, thresholds=((20.0, "threshold"),))


def heights(path: str) -> list[float]:
    return [float(y) for _, y in re.findall(r"[ML](\S+) (\S+)", path)]


def test_evidence_of_one_is_where_it_begins_and_more_is_higher() -> None:
    made = drawn(Evidence(after(0), 1, 1, 0), Evidence(after(24), 0.5, 10, 0))
    first, last = heights(made.not_worse)
    assert last < first
    assert heights(made.worse)[1] > first
    assert made.not_worse_y == last
    assert made.end_x == 50.0


def test_equal_factors_are_equal_distances() -> None:
    ys = heights(drawn(*(Evidence(after(n), 1, 10.0**n, 0) for n in range(3))).not_worse)
    assert math.isclose(ys[0] - ys[1], ys[1] - ys[2], abs_tol=0.2)


def test_the_line_is_broken_where_a_step_begins() -> None:
    made = drawn(
        Evidence(after(0), 1, 1, 0), Evidence(after(12), 1, 30, 0),
        Evidence(after(24), 1, 1, 1), Evidence(after(36), 1, 5, 1),
    )  # fmt: skip
    assert made.not_worse.count("M") == 2
    assert made.worse.count("M") == 1, "what proves it worse is kept"
    assert made.steps == (50.0,)


def test_overwhelming_evidence_stays_within_the_drawing() -> None:
    made = drawn(Evidence(after(1), 0.0, 1e300, 0), Evidence(after(2), 1e-300, math.inf, 0))
    assert all(TOP <= y <= HIGH for y in heights(made.not_worse) + heights(made.worse))


def test_nothing_seen_is_an_empty_drawing_with_its_threshold() -> None:
    made = drawn()
    assert (made.worse, made.not_worse, made.steps) == ("", "", ())
    assert [t.words for t in made.limits] == ["threshold"]
    assert [t.words for t in made.columns] == ["13:38", "13:54", "14:10", "14:26"]


def test_the_axis_names_no_more_decades_than_there_is_room_for() -> None:
    rows = drawn(Evidence(after(1), 1e-5, 1e5, 0)).rows
    assert 2 <= len(rows) <= 4
    assert "1" in [row.words for row in rows]


def test_a_split_goes_up_in_steps_and_what_is_planned_comes_after_now() -> None:
    made = curve.split(
        [Weight(after(2), 5), Weight(after(20), 25)],
        [(timedelta(minutes=9), 50), (timedelta(minutes=29), 100)],
        since=BEGIN, now=END,
    )  # fmt: skip
    ys = heights(made.canary)
    assert ys[0] == ys[-1] == HIGH
    assert min(ys) > HIGH * 0.7, "a quarter of the height at most"
    assert heights(made.ahead)[-1] == TOP
    assert made.now_x < 70
    assert made.columns[-1].at == made.now_x


def test_a_split_without_a_plan_ends_with_now() -> None:
    made = curve.split([], [], since=BEGIN, now=END)
    assert made.ahead == ""
    assert made.now_x == 100.0
    assert set(heights(made.canary)) == {float(HIGH)}
