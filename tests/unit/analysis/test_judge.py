import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.analysis.domain import judge, spec
from apps.analysis.domain.judge import Plan, RunState
from apps.analysis.domain.values import (
    Allowance,
    Answer,
    Better,
    Judgement,
    Metric,
    MetricKind,
    Slice,
    SourceKind,
)
from controlplane.kernel.quantities import Tally, of_share

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
ERRORS = spec.defaults()[0]
PLAN = Plan((ERRORS,))
LATENCY = Metric(
    "latency", "Mean latency", MetricKind.MEAN, SourceKind.PROMETHEUS,
    tolerance=Allowance(relative=0.05), margin=Allowance(relative=0.15), query="x",
)  # fmt: skip
SHADOW = Metric(
    "answers", "Answers otherwise", MetricKind.RATE, SourceKind.DISAGREEMENT,
    tolerance=Allowance(absolute=0.05), margin=Allowance(absolute=0.02),
)  # fmt: skip


def piece(
    index: int, stable: tuple[float, float], canary: tuple[float, float], seconds: float = 10
) -> Slice:
    at = START + timedelta(seconds=seconds * index)
    return Slice(at, seconds, of_share(*stable), of_share(*canary))


def traffic(
    rng: np.random.Generator, *, stable: float = 0.005, canary: float = 0.005, rps: float = 5,
    looks: int = 360, first: int = 0, weight: float = 0.1,
) -> Iterator[Slice]:  # fmt: skip
    for index in range(first, first + looks):
        n_c, n_s = int(rng.poisson(rps * 10)), int(rng.poisson(rps * 10 * (1 - weight) / weight))
        yield piece(
            index,
            (n_s, float(rng.binomial(n_s, stable))),
            (n_c, float(rng.binomial(n_c, canary))),
        )


def answered(plan: Plan, slices: Iterator[Slice], name: str = "errors") -> tuple[Answer, int]:
    """Return the first answer that is "worse" and how many looks it took, or the last answer."""
    state, looks = judge.begin(plan), 0
    for looks, part in enumerate(slices, start=1):
        state = judge.advance(plan, state, {name: [part]})
        if judge.verdict(plan, state) is Answer.WORSE:
            return Answer.WORSE, looks
    return judge.verdict(plan, state), looks


def after(plan: Plan, slices: Iterator[Slice], name: str = "errors") -> RunState:
    return judge.advance(plan, judge.begin(plan), {name: list(slices)})


def test_no_data_is_not_yet_whatever_the_time() -> None:
    silent = [piece(index, (0, 0), (0, 0)) for index in range(200)]
    for plan in (PLAN, Plan((LATENCY,)), Plan((SHADOW,)), Plan(spec.defaults(250, 0.999))):
        state = judge.begin(plan)
        for _ in range(3):
            state = judge.advance(plan, state, {m.name: silent for m in plan.metrics})
            state = judge.new_step(plan, state)
        found = judge.judge(plan, state)
        assert found.answer is Answer.NOT_YET
        assert found.remaining_seconds is None
        assert "No data" in found.sentence
        assert all(f.worse <= 1 + 1e-9 and f.not_worse <= 1 + 1e-9 for f in found.findings)


def test_data_of_one_side_alone_is_not_yet() -> None:
    lonely = [piece(index, (500, 2), (0, 0)) for index in range(500)]
    found = judge.judge(PLAN, after(PLAN, iter(lonely)))
    assert found.answer is Answer.NOT_YET
    assert "on the canary" in found.sentence


def test_without_a_required_metric_nothing_is_ever_not_worse() -> None:
    plan = Plan((replace(ERRORS, required=False),))
    state = after(plan, traffic(np.random.default_rng(1), looks=200))
    assert judge.verdict(plan, state) is Answer.NOT_YET


def test_healthy_canaries_on_the_edge_of_the_tolerance_are_aborted_at_most_as_often_as_alpha() -> (
    None
):
    rng = np.random.default_rng(2)
    edge = 0.0005 + 1.25 * 0.02
    wrong = sum(
        answered(PLAN, traffic(rng, stable=0.02, canary=edge, looks=60))[0] is Answer.WORSE
        for _ in range(100)
    )
    assert wrong <= 0.05 * 100


def test_canaries_on_the_margin_pass_at_most_as_often_as_alpha_over_several_steps() -> None:
    rng, wrong = np.random.default_rng(3), 0
    margin = 0.01 + 1.25 * 0.005
    for _ in range(80):
        state, passed = judge.begin(PLAN), False
        for step in range(3):
            for part in traffic(rng, canary=margin, looks=20, first=20 * step):
                state = judge.advance(PLAN, state, {"errors": [part]})
                passed |= judge.verdict(PLAN, state) is Answer.NOT_WORSE
            state = judge.new_step(PLAN, state)
        wrong += passed
    assert wrong <= 0.05 * 80


def test_four_times_the_errors_are_found_within_minutes() -> None:
    rng = np.random.default_rng(4)
    looks = []
    for _ in range(40):
        answer, took = answered(PLAN, traffic(rng, canary=0.02))
        assert answer is Answer.WORSE
        looks.append(took)
    assert np.median(looks) <= 18


def test_a_fifth_of_failing_requests_is_found_within_a_minute() -> None:
    rng = np.random.default_rng(5)
    assert all(answered(PLAN, traffic(rng, canary=0.2))[1] <= 6 for _ in range(40))


def test_a_long_healthy_past_hides_no_regression() -> None:
    rng, delays = np.random.default_rng(6), []
    for _ in range(8):
        past = list(traffic(rng, looks=360))
        bad = traffic(rng, canary=0.03, first=360, looks=90)
        answer, took = answered(PLAN, iter([*past, *bad]))
        assert answer is Answer.WORSE
        delays.append(took - 360)
    assert min(delays) > 0
    assert np.median(delays) < 30


def test_a_regression_that_begins_with_a_step_is_found_sooner_than_one_in_between() -> None:
    def delay(rng: np.random.Generator, *, step: bool) -> int:
        state = after(PLAN, traffic(rng, looks=180))
        state = judge.new_step(PLAN, state) if step else state
        for looks, part in enumerate(traffic(rng, canary=0.02, first=180), start=1):
            state = judge.advance(PLAN, state, {"errors": [part]})
            if judge.verdict(PLAN, state) is Answer.WORSE:
                return looks
        return 360

    with_step = [delay(np.random.default_rng(seed), step=True) for seed in range(15)]
    without = [delay(np.random.default_rng(seed), step=False) for seed in range(15)]
    assert sum(with_step) < sum(without)


def test_bursts_that_hit_both_sides_abort_nobody() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        state = judge.begin(PLAN)
        for index in range(120):
            share = 0.3 if index % 20 < 3 else 0.005
            [part] = traffic(rng, stable=share, canary=share, looks=1, first=index)
            state = judge.advance(PLAN, state, {"errors": [part]})
        assert judge.verdict(PLAN, state) is not Answer.WORSE


def test_a_good_canary_is_not_worse_and_stays_so_until_the_next_step_asks_again() -> None:
    rng = np.random.default_rng(8)
    state = after(PLAN, traffic(rng, looks=60))
    assert judge.verdict(PLAN, state) is Answer.NOT_WORSE
    state = judge.new_step(PLAN, state)
    assert judge.verdict(PLAN, state) is Answer.NOT_YET
    kept = judge.judge(PLAN, state).findings[0].not_worse
    assert 1 < kept <= 2 + 1e-9  # some of it counts on, and fresh requests are needed all the same
    state = judge.advance(PLAN, state, {"errors": list(traffic(rng, first=60, looks=60))})
    assert judge.verdict(PLAN, state) is Answer.NOT_WORSE


def test_strong_doubt_takes_not_worse_back_before_worse_is_proven() -> None:
    rng = np.random.default_rng(9)
    state = after(PLAN, traffic(rng, looks=60))
    seen = []
    for part in traffic(rng, canary=0.02, first=60):
        state = judge.advance(PLAN, state, {"errors": [part]})
        seen.append(judge.verdict(PLAN, state))
        if seen[-1] is Answer.WORSE:
            break
    assert seen[0] is Answer.NOT_WORSE
    assert seen[-2] is Answer.NOT_YET
    assert seen[-1] is Answer.WORSE


def test_what_is_proven_stays_proven() -> None:
    rng = np.random.default_rng(10)
    state = after(PLAN, traffic(rng, canary=0.2, looks=12))
    assert judge.verdict(PLAN, state) is Answer.WORSE
    state = judge.advance(PLAN, state, {"errors": list(traffic(rng, first=12, looks=300))})
    found = judge.judge(PLAN, state)
    assert found.answer is Answer.WORSE
    assert found.findings[0].answer is Answer.WORSE


def test_the_same_news_twice_counts_once() -> None:
    slices = list(traffic(np.random.default_rng(11), looks=30))
    once = judge.advance(PLAN, judge.begin(PLAN), {"errors": slices})
    assert judge.advance(PLAN, once, {"errors": slices}) == once
    assert judge.advance(PLAN, once, {"errors": slices[-3:]}) == once


@given(cuts=st.sets(st.integers(1, 39)), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_it_does_not_matter_how_often_anybody_looks(cuts: set[int], seed: int) -> None:
    plan = Plan((ERRORS, LATENCY))
    rng = np.random.default_rng(seed)
    news = {"errors": list(traffic(rng, canary=0.015, looks=40)), "latency": _latency(rng, 1.1)}
    at_once = judge.advance(plan, judge.begin(plan), news)
    state, edges = judge.begin(plan), [0, *sorted(cuts), 40]
    for first, last in itertools.pairwise(edges):
        state = judge.advance(plan, state, {n: s[first:last] for n, s in news.items()})
        state = judge.state_from_json(json.loads(json.dumps(judge.state_to_json(state))))
    assert state == at_once
    assert judge.judge(plan, state) == judge.judge(plan, at_once)


def test_the_state_survives_a_document_in_every_stage() -> None:
    plan = Plan((*spec.defaults(250, 0.999), LATENCY, SHADOW))
    rng, state = np.random.default_rng(12), judge.begin(plan)
    for stage in range(4):
        written = json.loads(json.dumps(judge.state_to_json(state)))
        assert judge.state_from_json(written) == state
        first = 40 * stage
        news = list(traffic(rng, looks=40, first=first))
        shadow = [replace(part, stable=Tally()) for part in news]
        latency = _latency(rng, 1.0, first=first)
        state = judge.advance(
            plan, state, {"errors": news, "slow": news, "answers": shadow, "latency": latency}
        )
        state = judge.new_step(plan, state)


def test_a_state_of_another_format_is_refused() -> None:
    document = judge.state_to_json(judge.begin(PLAN)) | {"format": 99}
    with pytest.raises(ValueError, match="99"):
        judge.state_from_json(document)


def _latency(
    rng: np.random.Generator, times: float, *, looks: int = 40, first: int = 0
) -> list[Slice]:
    found = []
    for index in range(first, first + looks):
        both = rng.normal(100, 20)  # what moves both sides
        means = (both + rng.normal(0, 5), both * times + rng.normal(0, 8))
        stable, canary = (
            Tally(n, n * m, n * m * m) for n, m in zip((450, 50), means, strict=True)
        )
        found.append(Slice(START + timedelta(seconds=10 * index), 10, stable, canary))
    return found


def test_a_mean_says_nothing_before_ten_slices() -> None:
    plan = Plan((LATENCY,))
    state = after(plan, iter(_latency(np.random.default_rng(13), 5.0, looks=9)), "latency")
    found = judge.judge(plan, state)
    assert found.answer is Answer.NOT_YET
    assert found.findings[0].low is None


def test_a_slower_mean_is_worse_and_an_equal_one_is_not() -> None:
    plan = Plan((LATENCY,))
    for times, expected in ((1.3, Answer.WORSE), (1.0, Answer.NOT_WORSE)):
        slices = _latency(np.random.default_rng(14), times, looks=120)
        assert judge.verdict(plan, after(plan, iter(slices), "latency")) is expected


def test_means_on_the_edge_are_aborted_at_most_as_often_as_alpha() -> None:
    plan, rng = Plan((LATENCY,)), np.random.default_rng(15)
    wrong = sum(
        answered(plan, iter(_latency(rng, 1.05, looks=80)), "latency")[0] is Answer.WORSE
        for _ in range(100)
    )
    assert wrong <= 0.05 * 100


def test_the_interval_of_a_mean_covers_the_difference_at_every_look() -> None:
    plan, rng, missed = Plan((LATENCY,)), np.random.default_rng(16), 0
    for _ in range(60):
        state, out = judge.begin(plan), False
        for part in _latency(rng, 1.1, looks=50):
            state = judge.advance(plan, state, {"latency": [part]})
            found = judge.judge(plan, state).findings[0]
            if found.low is not None and found.high is not None:
                out |= not found.low <= 10.0 <= found.high
        missed += out
    assert missed <= 0.05 * 60


def test_the_interval_of_a_share_covers_the_difference_at_every_look() -> None:
    rng, missed = np.random.default_rng(17), 0
    for _ in range(40):
        state, out = judge.begin(PLAN), False
        for part in traffic(rng, canary=0.01, looks=40):
            state = judge.advance(PLAN, state, {"errors": [part]})
            found = judge.judge(PLAN, state).findings[0]
            assert found.low is not None
            assert found.high is not None
            out |= not found.low <= 0.005 <= found.high
        missed += out
    assert missed <= 0.05 * 40


def test_slices_as_observations_stand_what_requests_do_not() -> None:
    """Each side's share varies by itself from slice to slice: requests are not independent."""
    cluster = Plan((replace(ERRORS, cluster=True),))
    rng, wrong = np.random.default_rng(18), {"requests": 0, "slices": 0}
    for _ in range(40):
        news = []
        for index in range(60):
            shares = 0.02 * rng.gamma(2, 0.5, 2)
            hits = rng.binomial([45_000, 5_000], shares)
            news.append(piece(index, (45_000, float(hits[0])), (5_000, float(hits[1]))))
        wrong["requests"] += answered(PLAN, iter(news))[0] is Answer.WORSE
        wrong["slices"] += answered(cluster, iter(news))[0] is Answer.WORSE
    assert wrong["requests"] > 30
    assert wrong["slices"] <= 2


def test_a_known_dispersion_makes_the_judge_more_careful() -> None:
    rng, wrong = np.random.default_rng(19), {1.0: 0, 12.0: 0}
    for _ in range(30):
        news = []
        for minute in range(30):
            shares = 0.005 * rng.gamma(1 / 0.36, 0.36, 2)
            for index in range(minute * 6, minute * 6 + 6):
                hits = rng.binomial([4500, 500], shares)
                news.append(piece(index, (4500, float(hits[0])), (500, float(hits[1]))))
        for value in wrong:
            plan = Plan((ERRORS,), dispersion={"errors": value})
            wrong[value] += answered(plan, iter(news))[0] is Answer.WORSE
    assert wrong[1.0] > 10
    assert wrong[12.0] == 0


def test_a_better_when_higher_share_is_the_mirror_of_its_failures() -> None:
    higher = Metric(
        "good", "Right", MetricKind.RATE, SourceKind.FEEDBACK, better=Better.HIGHER,
        tolerance=Allowance(absolute=0.01), margin=Allowance(absolute=0.05),
    )  # fmt: skip
    lower = replace(higher, name="bad", better=Better.LOWER)
    bad = list(traffic(np.random.default_rng(20), stable=0.1, canary=0.2, looks=12))
    good = [
        Slice(p.at, p.seconds, of_share(p.stable.count, p.stable.count - p.stable.total),
              of_share(p.canary.count, p.canary.count - p.canary.total))
        for p in bad
    ]  # fmt: skip
    plan = Plan((higher, lower))
    found = judge.judge(plan, judge.advance(plan, judge.begin(plan), {"good": good, "bad": bad}))
    one, other = found.findings
    assert one.worse == pytest.approx(other.worse)
    assert one.not_worse == pytest.approx(other.not_worse)
    assert one.canary == pytest.approx(1 - (other.canary or 0))
    assert (one.low, one.high) == pytest.approx((-(other.high or 0), -(other.low or 0)))
    assert one.allowed == pytest.approx((one.stable or 0) - 0.05)
    assert "is lower in “Right”" in one.sentence


@pytest.mark.parametrize(("share", "expected"), [(0.1, Answer.WORSE), (0.005, Answer.NOT_WORSE)])
def test_disagreement_needs_no_stable_side(share: float, expected: Answer) -> None:
    plan, rng = Plan((SHADOW,)), np.random.default_rng(21)
    news = [
        replace(p, stable=Tally()) for p in traffic(rng, canary=share, looks=60)
    ]  # fmt: skip
    state = after(plan, iter(news), "answers")
    found = judge.judge(plan, state)
    assert found.answer is expected
    assert "otherwise than stable" in found.findings[0].sentence
    assert found.findings[0].stable is None
    assert found.findings[0].allowed == 0.02


def test_several_metrics_share_one_alpha() -> None:
    plan = Plan(spec.defaults(250, None))
    news = list(traffic(np.random.default_rng(22), canary=0.1, looks=6))
    quiet = list(traffic(np.random.default_rng(23), looks=6))
    found = judge.judge(
        plan, judge.advance(plan, judge.begin(plan), {"errors": news, "slow": quiet})
    )
    errors, slow, refused = found.findings
    assert errors.worse_at == 60
    assert found.combined_worse == pytest.approx((errors.worse + slow.worse + refused.worse) / 3)
    assert found.answer is Answer.WORSE
    assert errors.answer is Answer.WORSE
    assert slow.answer is not Answer.WORSE
    assert found.sentence == errors.sentence


def test_every_required_metric_must_be_not_worse() -> None:
    plan = Plan(spec.defaults(250, None))
    good = list(traffic(np.random.default_rng(24), looks=60))
    state = judge.advance(plan, judge.begin(plan), {"errors": good})
    found = judge.judge(plan, state)
    assert found.findings[0].answer is Answer.NOT_WORSE
    assert found.answer is Answer.NOT_YET
    assert "No data" in found.sentence
    optional = replace(plan, metrics=(plan.metrics[0], replace(plan.metrics[1], required=False)))
    assert judge.verdict(optional, state) is Answer.NOT_WORSE


def test_the_time_that_is_left_is_about_right() -> None:
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        state = after(PLAN, traffic(rng, rps=1, looks=30))
        said = judge.judge(PLAN, state).remaining_seconds
        if not said:
            continue
        slices = traffic(rng, rps=1, first=30, looks=1000)
        while judge.verdict(PLAN, state) is Answer.NOT_YET:
            part = next(slices)
            state = judge.advance(PLAN, state, {"errors": [part]})
        took = (part.at - START).total_seconds() - 290
        errors.append(math.log(said / took))
    assert len(errors) > 10
    assert abs(np.median(errors)) < math.log(2.5)


def test_less_traffic_takes_longer() -> None:
    left = []
    for rps in (0.5, 2.0):
        state = after(PLAN, iter([piece(i, (rps * 90, 0), (rps * 10, 0)) for i in range(3)]))
        left.append(judge.judge(PLAN, state).remaining_seconds or 0)
    assert left[0] > 2 * left[1] > 0


@pytest.mark.parametrize(
    ("stable", "canary", "words"),
    [
        (0.014, 0.021, ["is a little slower than stable, by about 0.70 points", "You allow 2.4"]),
        (0.014, 0.014, ["about level with stable"]),
        (0.05, 0.03, ["is faster than stable so far, by about 2.0 points"]),
        (0.01, 0.05, ["is slower than stable so far, by about 4.0 points", "from chance"]),
    ],
)  # fmt: skip
def test_the_sentence_says_what_is_seen_and_what_is_open(
    stable: float, canary: float, words: list[str]
) -> None:
    slow = spec.defaults(250, None)[1]
    plan = Plan((slow,))
    state = after(plan, iter([piece(0, (90, 90 * stable), (10, 10 * canary))]), "slow")
    found: Judgement = judge.judge(plan, state)
    assert found.answer is Answer.NOT_YET
    for word in words:
        assert word in found.sentence


def test_the_sentence_names_what_was_measured_before() -> None:
    plan = Plan((ERRORS,), dispersion={"errors": 1.8})
    state = after(plan, traffic(np.random.default_rng(25), looks=3))
    assert "differed 1.8 times as much as chance explains" in judge.judge(plan, state).sentence
