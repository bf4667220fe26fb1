"""Where a bandit sends its requests, when it stops, and how it does against fixed weights."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from apps.analysis.domain import bandit
from apps.analysis.domain.bandit import Arm, Bounds, Ending
from apps.analysis.domain.values import Better, MetricKind
from controlplane.kernel.errors import Invalid
from controlplane.kernel.quantities import Tally, of_share

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
RATE, MEAN = MetricKind.RATE, MetricKind.MEAN
WIDE = Bounds(floor=0, ceiling=100, most_change=100, least=2)
HALF = {1: 50, 2: 50}


def share(number: int, count: float, hits: float) -> Arm:
    return Arm(number, of_share(count, hits))


def numbers(number: int, *values: float) -> Arm:
    return Arm(number, Tally(len(values), sum(values), sum(v * v for v in values)))


# --- who is best -------------------------------------------------------------------------------


def test_without_observations_nobody_is_better() -> None:
    assert bandit.probability_best([share(1, 0, 0), share(2, 0, 0)], RATE) == pytest.approx(
        {1: 0.5, 2: 0.5}
    )
    unknown = [numbers(1, 5.0), numbers(2, 1.0, 2.0, 3.0)]
    assert bandit.probability_best(unknown, MEAN) == {1: 0.5, 2: 0.5}


def test_the_better_share_and_the_better_mean_are_found() -> None:
    assert bandit.probability_best([share(1, 1000, 50), share(2, 1000, 80)], RATE)[2] > 0.99
    high, low = numbers(1, *[9, 10, 11] * 20), numbers(2, *[8, 9, 10] * 20)
    assert bandit.probability_best([high, low], MEAN)[1] > 0.99


@pytest.mark.parametrize("kind", [RATE, MEAN])
def test_where_lower_is_better_the_lower_wins_as_surely(kind: MetricKind) -> None:
    arms = [share(1, 1000, 50), share(2, 1000, 80)]
    higher = bandit.probability_best(arms, kind)
    lower = bandit.probability_best(arms, kind, better=Better.LOWER)
    assert lower[1] == pytest.approx(higher[2], abs=1e-9)


def test_means_that_never_vary_are_told_apart() -> None:
    chances = bandit.probability_best([numbers(1, 2, 2, 2), numbers(2, 3, 3, 3)], MEAN)
    assert chances == pytest.approx({1: 0, 2: 1})


def test_a_share_of_other_numbers_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        bandit.probability_best([share(1, 10, 3), Arm(2, Tally(10, 55, 400))], RATE)
    assert refused.value.code == "bandit.not_a_share"


# --- weights -----------------------------------------------------------------------------------


def test_weights_are_the_chances_of_being_best() -> None:
    arms = [share(1, 200, 20), share(2, 200, 26), share(3, 200, 18)]
    chances = bandit.probability_best(arms, RATE)
    weights = bandit.allocate(arms, WIDE, previous={1: 34, 2: 33, 3: 33})
    assert sum(weights.values()) == 100
    assert all(abs(weights[n] - 100 * chances[n]) <= 1 for n in weights)


def test_nothing_moves_before_every_arm_has_enough() -> None:
    bounds, previous = Bounds(least=100), {1: 70, 2: 30}
    few = [share(1, 5000, 10), share(2, 99, 50)]
    assert bandit.allocate(few, bounds, previous=previous) == previous
    discounted = [few[0], Arm(2, of_share(99, 50), observed=100)]
    assert bandit.allocate(discounted, bounds, previous=previous) == {1: 50, 2: 50}


HITS = [(0, 0, 0), (3, 50, 400), (1000, 0, 3), (50, 50, 1000), (400, 420, 410)]


@pytest.mark.parametrize("floor", [0, 5, 10])
@pytest.mark.parametrize("ceiling", [50, 80, 100])
@pytest.mark.parametrize("most_change", [1, 20, 100])
def test_every_move_keeps_the_bounds_and_adds_up(
    floor: int, ceiling: int, most_change: int
) -> None:
    bounds = Bounds(floor, ceiling, most_change, least=2)
    for hits, start in itertools.product(HITS, [(34, 33, 33), (10, 40, 50), (45, 45, 10)]):
        previous = dict(zip((1, 2, 3), start, strict=True))
        arms = [share(n, 1000, h) for n, h in zip((1, 2, 3), hits, strict=True)]
        weights = bandit.allocate(arms, bounds, previous=previous)
        assert sum(weights.values()) == 100
        for number, weight in weights.items():
            assert isinstance(weight, int)
            assert floor <= weight <= ceiling
            assert abs(weight - previous[number]) <= most_change


def test_bounds_win_over_the_largest_change() -> None:
    arms, previous = [share(n, 100, 50) for n in (1, 2, 3)], {1: 100, 2: 0, 3: 0}
    narrow = Bounds(floor=10, ceiling=80, most_change=1, least=2)
    assert bandit.allocate(arms, narrow, previous=previous) == {1: 80, 2: 10, 3: 10}
    slow = Bounds(floor=10, ceiling=90, most_change=1, least=2)  # 99, 1 and 1 is no answer
    assert sorted(bandit.allocate(arms, slow, previous=previous).values()) == [33, 33, 34]


@pytest.mark.parametrize(
    ("bounds", "arms", "field"),
    [
        (Bounds(), 1, "arms"), (Bounds(floor=51), 2, "floor"), (Bounds(floor=-1), 2, "floor"),
        (Bounds(ceiling=49), 2, "ceiling"), (Bounds(ceiling=33), 3, "ceiling"),
        (Bounds(ceiling=101), 2, "ceiling"), (Bounds(most_change=0), 2, "most_change"),
        (Bounds(least=1), 2, "least"),
    ],
)  # fmt: skip
def test_bounds_without_sense_are_refused(bounds: Bounds, arms: int, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        bandit.check(bounds, arms=arms)
    assert (refused.value.field, bool(refused.value.remedy)) == (field, True)


# --- stopping ----------------------------------------------------------------------------------


def decided(arms: Sequence[Arm], *, hours: float = 1, **how: Better) -> bandit.Decision:
    return of_segments({"": arms}, hours=hours, **how)


def of_segments(
    segments: Mapping[str, Sequence[Arm]], *, hours: float = 1, **how: Better
) -> bandit.Decision:
    return bandit.decided(
        segments, Bounds(least=100), elapsed=hours * HOUR, horizon=24 * HOUR, **how
    )


def test_it_stops_when_hardly_anything_can_be_gained() -> None:
    clear = decided([share(1, 5000, 250), share(2, 5000, 400)])
    assert (clear.ending, clear.leader) == (Ending.CLEAR, 2)
    assert "Revision 2 is chosen" in clear.sentence


def test_it_goes_on_while_the_choice_may_cost_something() -> None:
    open_still = decided([share(1, 200, 20), share(2, 200, 22)])
    assert (open_still.ending, open_still.leader) == (Ending.RUNNING, 2)


def test_arms_that_are_alike_are_decided_too() -> None:
    assert decided([share(1, 200_000, 20_000), share(2, 200_000, 20_000)]).leader == 1


def test_at_the_horizon_it_ends_in_any_case() -> None:
    over = decided([share(1, 200, 20), share(2, 200, 22)], hours=24)
    assert (over.ending, over.leader) == (Ending.HORIZON, 2)
    nothing = decided([share(1, 5000, 20), share(2, 3, 3)], hours=24)
    assert (nothing.ending, nothing.leader) == (Ending.HORIZON, None)


def test_a_few_observations_make_nothing_clear() -> None:
    assert decided([share(1, 99, 0), share(2, 99, 99)]).ending is Ending.RUNNING


def test_what_remains_is_told_relative_to_the_value_itself() -> None:
    arms = [share(1, 1000, 20), share(2, 1000, 30)]
    left = bandit.value_remaining({"": arms}, RATE, better=Better.LOWER)
    assert left is not None
    assert left.leader == 1
    assert left.relative == pytest.approx(left.loss / (21 / 1002))
    assert bandit.value_remaining({"": [numbers(1, 1.0), numbers(2, 1.0)]}, MEAN) is None


# --- segments ----------------------------------------------------------------------------------


def test_a_segment_of_which_nothing_is_known_goes_with_the_others() -> None:
    segments = {
        "eu": [share(1, 4000, 200), share(2, 4000, 320)],
        "us": [share(1, 4000, 320), share(2, 4000, 200)],
        "mars": [share(1, 0, 0), share(2, 0, 0)],
        "asia": [share(1, 4000, 200), share(2, 4000, 320)],
    }
    bounds = Bounds(most_change=100)
    weights = bandit.allocate_segments(segments, bounds, previous={"eu": HALF}, start=HALF)
    assert (weights["eu"][2], weights["us"][1]) == (95, 95)
    assert 50 < weights["mars"][2] < 95


def test_segments_of_different_minds_are_not_given_one_arm() -> None:
    segments = {
        "eu": [share(1, 9000, 900), share(2, 9000, 1350)],
        "us": [share(1, 9000, 1350), share(2, 9000, 900)],
        "asia": [share(1, 3000, 300), share(2, 3000, 450)],
    }
    apart = of_segments(segments)
    assert (apart.ending, apart.leader) == (Ending.RUNNING, 2)
    assert "not the better one for “us”" in apart.sentence
    assert apart.remaining is not None
    assert apart.remaining.others == ("us",)
    assert apart.remaining.apart == pytest.approx(apart.remaining.relative, abs=0.001)
    over = of_segments(segments, hours=24)
    assert (over.ending, over.leader) == (Ending.HORIZON, 2)
    assert "not the better one for “us”" in over.sentence


def test_segments_of_one_mind_are_given_its_arm() -> None:
    segments = {
        "eu": [share(1, 9000, 900), share(2, 9000, 1350)],
        "tiny": [share(1, 10, 2), share(2, 10, 1)],
        "nobody": [share(1, 0, 0), share(2, 0, 0)],
    }
    clear = of_segments(segments)
    assert (clear.ending, clear.leader) == (Ending.CLEAR, 2)


def test_an_arm_that_only_got_more_of_a_good_segment_is_not_better() -> None:
    segments = {  # worse in both, and better over all at once (Simpson)
        "easy": [share(1, 1000, 520), share(2, 9000, 4500)],
        "hard": [share(1, 9000, 1080), share(2, 1000, 100)],
    }
    whole = [share(1, 10_000, 1600), share(2, 10_000, 4600)]
    assert decided(whole).leader == 2
    assert of_segments(segments).leader == 1


def test_many_segments_of_another_mind_are_not_all_named() -> None:
    for_2 = {"": [share(1, 9000, 900), share(2, 9000, 1350)]}
    for_1 = {f"s{n}": [share(1, 900, 135), share(2, 900, 90)] for n in range(5)}
    assert "“s0”, “s1”, “s2” and 2 more" in of_segments(for_2 | for_1).sentence


def test_only_what_is_lacking_is_borrowed_and_never_more_than_there_is() -> None:
    segments = {"a": [share(1, 10, 5)], "b": [share(1, 30, 3)], "c": [share(1, 0, 0)]}
    shrunk = bandit.shrunk(segments, strength=20)
    assert shrunk["a"][0].tally == Tally(20, 6, 6)
    assert shrunk["b"] == segments["b"]
    assert shrunk["c"][0].tally == Tally(20, 4, 4)
    assert bandit.shrunk(segments, strength=999)["c"][0].tally == Tally(40, 8, 8)
    assert bandit.shrunk({"only": [share(1, 10, 5)]})["only"] == [share(1, 10, 5)]


def test_a_segment_of_another_mind_never_moves_the_wrong_way_once_it_is_known() -> None:
    segments = {
        "de": [share(1, 200, 60), share(2, 200, 120)],
        "fr": [share(1, 200, 120), share(2, 200, 60)],
        "it": [share(1, 200, 60), share(2, 200, 120)],
    }
    weights = bandit.allocate_segments(segments, Bounds(), previous={}, start=HALF)
    assert {name: split[2] for name, split in weights.items()} == {"de": 70, "fr": 30, "it": 70}


# --- against fixed weights ---------------------------------------------------------------------

Truth = Callable[[int], Mapping[int, float]]
REQUESTS, MOVES = 200, 60


def run(truth: Truth, *, seed: int, bounds: Bounds) -> tuple[float, list[bandit.Weights]]:
    """Return what was lost against the best arm of each moment, and the weights."""
    random, weights = np.random.default_rng(seed), dict(HALF)
    told = {1: Tally(), 2: Tally()}
    lost, path = 0.0, []
    for move in range(MOVES):
        rates = truth(move)
        for number in weights:
            asked = REQUESTS * weights[number] // 100
            told[number] += of_share(asked, int(random.binomial(asked, rates[number])))
            lost += asked * (max(rates.values()) - rates[number])
        arms = [Arm(number, tally) for number, tally in told.items()]
        weights = bandit.allocate(arms, bounds, previous=weights)
        path.append(weights)
    return lost, path


def fixed_loss(truth: Truth) -> float:
    halves = (REQUESTS / 2 * abs(truth(m)[1] - truth(m)[2]) for m in range(MOVES))
    return sum(halves)


def test_it_loses_less_than_half_and_half_and_never_leaves_its_floor() -> None:
    def truth(move: int) -> Mapping[int, float]:
        return {1: 0.05, 2: 0.08}

    runs = [run(truth, seed=seed, bounds=Bounds(floor=5)) for seed in range(8)]
    losses = [lost for lost, _ in runs]
    assert np.mean(losses) < 0.5 * fixed_loss(truth)
    assert max(losses) < fixed_loss(truth)
    assert min(min(weights.values()) for _, path in runs for weights in path) >= 5


def test_arms_that_are_alike_lose_nothing_and_end_anywhere_between_the_bounds() -> None:
    lost, path = run(lambda move: {1: 0.05, 2: 0.05}, seed=3, bounds=Bounds())
    assert lost == 0
    assert all(5 <= weight <= 95 for weights in path for weight in weights.values())
