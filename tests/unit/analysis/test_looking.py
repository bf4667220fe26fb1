"""From what came to what a row says of it: slices, steps, pace, terms, what is kept."""

import itertools
import json
import math
from datetime import UTC, datetime, timedelta

import pytest

from apps.analysis.domain import judge, looking, pooling, spec, terms
from apps.analysis.domain.judge import Plan
from apps.analysis.domain.looking import NEW_STEP, NO_METRICS, NO_STABLE, News
from apps.analysis.domain.pace import LONG, LONG_GAP, YOUNG, next_look
from apps.analysis.domain.pooling import Pool
from apps.analysis.domain.queries import Measured
from apps.analysis.domain.slicing import Piece, slices, split, tally_of
from apps.analysis.domain.values import Answer, Metric, MetricKind, Slice, SourceKind
from controlplane.kernel.errors import Invalid
from controlplane.kernel.quantities import Tally, of_share

START = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
PLAN = Plan(spec.defaults())


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def piece(second: float, count: float, *, seconds: float = 10) -> Piece:
    return Piece(at(second), seconds, of_share(count, 0))


def made(stable: list[Piece], canary: list[Piece], until: float) -> list[tuple[float, ...]]:
    found = slices(stable, canary, since=START, until=at(until))
    return [
        ((s.at - START).total_seconds(), s.seconds, s.stable.count, s.canary.count) for s in found
    ]


# --- slices -------------------------------------------------------------------------------------


def test_both_sides_of_the_same_time_are_one_slice() -> None:
    assert made([piece(0, 9), piece(10, 8)], [piece(0, 1), piece(10, 2)], 20) == [
        (0, 10, 9, 1), (10, 10, 8, 2),
    ]  # fmt: skip


def test_one_side_alone_is_a_slice_and_silence_is_one_too() -> None:
    assert made([piece(20, 9)], [piece(40, 1)], 60) == [
        (0, 20, 0, 0), (20, 10, 9, 0), (30, 10, 0, 0), (40, 10, 0, 1), (50, 10, 0, 0),
    ]  # fmt: skip


def test_a_long_window_covers_the_short_ones_within_it() -> None:
    long = [piece(0, 600, seconds=605), piece(600, 10)]
    assert made(long, [piece(0, 60, seconds=605)], 610) == [(0, 605, 600, 60), (600, 10, 10, 0)]


def test_nothing_has_come_in_no_time() -> None:
    assert made([], [], 0) == []


def test_slices_are_split_where_a_step_begins() -> None:
    whole = slices([piece(0, 1), piece(10, 1)], [], since=START, until=at(20))
    assert [len(part) for part in split(whole, at(3))] == [1, 1]
    assert [len(part) for part in split(whole, at(10))] == [1, 1]
    assert [len(part) for part in split(whole, at(11))] == [2, 0]


@pytest.mark.parametrize(
    ("kind", "measured", "tally"),
    [
        (MetricKind.RATE, Measured(0.25, 8), Tally(8, 2, 2)),
        (MetricKind.MEAN, Measured(3.0), Tally(1, 3, 9)),
        (MetricKind.MEAN, Measured(3.0, 4), Tally(4, 12, 36)),
        (MetricKind.MEAN, Measured(None), Tally()),
        (MetricKind.RATE, Measured(None, 5), Tally()),
    ],
)
def test_what_another_source_says_is_so_many_observations(
    kind: MetricKind, measured: Measured, tally: Tally
) -> None:
    assert tally_of(kind, measured) == tally


# --- steps --------------------------------------------------------------------------------------


def good(first: int, last: int) -> list[Slice]:
    sides = (of_share(5000, 10), of_share(500, 1))
    return [Slice(at(10 * i), 10, *sides) for i in range(first, last)]


def news(pieces: list[Slice], *, step: float | None = None, until: float) -> News:
    return News({"errors": pieces}, None if step is None else at(step), at(until))


def test_what_began_before_a_step_counts_before_it() -> None:
    state = judge.begin(PLAN)
    told = looking.advance(PLAN, state, news(good(0, 60), step=300, until=600))
    by_hand = judge.advance(PLAN, state, {"errors": good(0, 30)})
    by_hand = judge.advance(PLAN, judge.new_step(PLAN, by_hand), {"errors": good(30, 60)})
    assert told == by_hand


def test_a_step_waits_until_all_that_was_before_it_is_there() -> None:
    early = news(good(0, 60), step=605, until=600)
    assert not early.step_is_due
    state = looking.advance(PLAN, judge.begin(PLAN), early)
    assert judge.judge(PLAN, state).answer is Answer.NOT_WORSE
    found = looking.judgement(PLAN, state, early, has_stable=True)
    assert (found.answer, found.sentence, found.remaining_seconds) == (
        Answer.NOT_YET, NEW_STEP, None,
    )  # fmt: skip


def test_worse_is_said_whatever_step_waits() -> None:
    bad = [Slice(at(10 * i), 10, of_share(500, 1), of_share(50, 10)) for i in range(60)]
    early = news(bad, step=605, until=600)
    state = looking.advance(PLAN, judge.begin(PLAN), early)
    assert looking.judgement(PLAN, state, early, has_stable=True).answer is Answer.WORSE


def test_with_nothing_to_compare_there_is_never_a_proof() -> None:
    none, whole = Plan(()), news([], until=0)
    found = looking.judgement(none, judge.begin(none), whole, has_stable=True)
    assert (found.answer, found.sentence) == (Answer.NOT_YET, NO_METRICS)
    found = looking.judgement(PLAN, judge.begin(PLAN), whole, has_stable=False)
    assert (found.answer, found.sentence) == (Answer.NOT_YET, NO_STABLE)


# --- what a row keeps ---------------------------------------------------------------------------


def test_what_is_kept_is_json_however_strong_the_evidence() -> None:
    terrible = [Slice(at(10 * i), 10, of_share(5e6, 1), of_share(5e6, 5e6)) for i in range(50)]
    state = judge.advance(PLAN, judge.begin(PLAN), {"errors": terrible})
    kept = looking.columns(judge.judge(PLAN, state))
    assert json.loads(json.dumps(kept["findings"], allow_nan=False)) == kept["findings"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(1.5, 1.5), (math.inf, looking.MOST), (-math.inf, -looking.MOST), (math.nan, None)],
)
def test_a_number_that_is_none_is_not_kept(given: float, kept: float | None) -> None:
    assert looking.finite(given) == kept


# --- pace ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 7, 19, 20])
@pytest.mark.parametrize(("age", "gap"), [(timedelta(), 5.0), (YOUNG, 10.0)])
def test_a_window_is_looked_at_soon_after_it_is_complete_and_between_while_young(
    number: int, age: timedelta, gap: float
) -> None:
    looks = [START]
    while len(looks) < 21:
        looks.append(next_look(looks[-1], age=age, number=number))
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(looks[1:])]
    assert gaps == pytest.approx([gap] * 19)
    assert all(2 <= look.timestamp() % gap < 4 for look in looks[1:])


def test_a_late_look_is_followed_by_one_in_its_time() -> None:
    for second in range(100):
        now = at(second / 10)
        after = next_look(now, age=timedelta(), number=3)
        assert 0.99 < (after - now).total_seconds() <= 6.01


def test_a_run_that_lasts_is_looked_at_less_often() -> None:
    assert next_look(START, age=LONG, number=1) == START + LONG_GAP


# --- terms --------------------------------------------------------------------------------------


def test_a_plan_says_what_is_compared_how_surely_and_the_limits() -> None:
    document = {
        "metrics": spec.as_document(spec.defaults(250)),
        "alpha": 0.01,
        "limits": {"page_share": 0.3, "least_errors": 5, "restarts": 2},
    }
    read = terms.read(document, dispersion={"errors": 2.0})
    assert [m.name for m in read.plan.metrics] == ["errors", "slow", "refused"]
    assert (read.plan.alpha, read.plan.dispersion) == (0.01, {"errors": 2.0})
    assert (read.limits.page_share, read.limits.least_errors) == (0.3, 5)


def test_a_plan_may_be_of_limits_alone() -> None:
    assert terms.read({}, dispersion={}).plan.metrics == ()


def test_a_plan_that_is_wrong_names_the_place() -> None:
    with pytest.raises(Invalid) as refused:
        terms.read({"metrics": [{"name": "x", "source": "stars"}]}, dispersion={})
    assert refused.value.field == "metrics[0].source"


# --- what runs learn from each other ------------------------------------------------------------


def test_slices_are_kept_as_they_were() -> None:
    whole = [Slice(at(10 * i), 10.0, Tally(i, i / 3, i / 7), Tally(i, 0, 0)) for i in range(5)]
    assert pooling.unpack(json.loads(json.dumps(pooling.pack(whole)))) == whole


def test_only_the_newest_slices_are_kept() -> None:
    kept = pooling.unpack(pooling.pack(good(0, 500)))
    assert (len(kept), kept[-1].at) == (pooling.MOST_SLICES, at(4990))


@pytest.mark.parametrize(
    ("same", "promoted", "sentence"),
    [
        (0, 3, "from 2 slices of 3 earlier rollouts that were promoted"),
        (1, 0, "from 2 slices of 1 earlier rollout of the same bytes"),
        (
            2,
            1,
            "from 2 slices of 1 earlier rollout that was promoted "
            "and 2 earlier rollouts of the same bytes",
        ),
    ],
)
def test_where_a_dispersion_is_from_is_said(same: int, promoted: int, sentence: str) -> None:
    assert Pool(tuple(good(0, 2)), same_bytes=same, promoted=promoted).sentence == sentence


def test_metrics_are_the_same_by_what_they_count() -> None:
    def key(source: SourceKind, **more: float) -> str:
        return pooling.key_of(Metric("any", "Any", MetricKind.RATE, source, **more))  # type: ignore[arg-type]

    assert key(SourceKind.SLOW, over_ms=250) == key(SourceKind.SLOW, over_ms=250.0)
    assert key(SourceKind.SLOW, over_ms=250) != key(SourceKind.SLOW, over_ms=300)
    assert key(SourceKind.ERRORS) != key(SourceKind.SLOW, over_ms=250)
