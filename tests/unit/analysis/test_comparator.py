"""The comparator compares each request once, whoever dies, waits or starts again."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from apps.analysis.comparator import Comparator, Looked
from apps.analysis.domain import comparison
from apps.analysis.domain.answers import Kept, Output
from apps.analysis.domain.comparison import Comparison
from controlplane.drivers.memory.answers import MemoryAnswers
from controlplane.kernel.errors import Transient

START = datetime(2026, 1, 1, tzinfo=UTC)
STABLE, CANARY, SECOND = 1, 2, 3


@dataclass
class Trial:
    """Servers that answer, and a caller that looks now and then."""

    log: MemoryAnswers = field(default_factory=MemoryAnswers)
    now: datetime = START
    cursor: dict[str, Any] = field(default_factory=dict)
    total: Comparison = field(default_factory=Comparison)
    canary: tuple[int, ...] = (CANARY,)
    since: datetime | None = None

    def answer(self, port: int, *requests: str, label: int = 1) -> None:
        """Answer requests at the server at `port`, now."""
        for request in requests:
            self.log.keep(
                Kept(
                    port=port,
                    sequence=0,
                    at=self.now.timestamp(),
                    request_id=request,
                    body="b",
                    status=200,
                    milliseconds=1.0,
                    outputs=(Output("label", "INT64", (1,), (label,)),),
                )
            )

    def both(self, *requests: str) -> None:
        self.answer(STABLE, *requests)
        self.answer(CANARY, *requests)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def look(self, *, dies: bool = False) -> Looked:
        """Look; a worker that dies writes neither the cursor nor what it adds up."""
        looked = Comparator(self.log).look(
            self.cursor,
            stable_ports=[STABLE],
            canary_ports=self.canary,
            now=self.now,
            since=self.since,
        )
        if not dies:
            self.cursor = orjson.loads(orjson.dumps(looked.cursor))
            self.total = looked.added_to(self.total)
        return looked


@pytest.fixture
def trial() -> Trial:
    return Trial()


def ids(looked: Looked) -> list[str]:
    return [one.request_id for one in looked.compared]


def names(numbers: Iterable[int]) -> list[str]:
    return [f"r{number}" for number in numbers]


def test_each_request_is_compared_once(trial: Trial) -> None:
    trial.both("a", "b")
    assert ids(trial.look()) == ["a", "b"]
    assert ids(trial.look()) == []
    trial.both("c")
    assert ids(trial.look()) == ["c"]


def test_a_young_answer_waits_for_its_counterpart(trial: Trial) -> None:
    trial.answer(STABLE, "slow", "quick")
    trial.answer(CANARY, "quick")
    assert ids(trial.look()) == ["quick"]
    trial.wait(1)
    trial.answer(CANARY, "slow")
    assert ids(trial.look()) == ["slow"]
    assert (trial.total.unmatched_stable, trial.total.lost) == (0, 0)


def test_what_waited_for_too_long_stays_alone(trial: Trial) -> None:
    trial.answer(STABLE, "alone")
    trial.both("a")
    trial.look()
    trial.wait(4)
    assert trial.look().unmatched_stable == 1
    trial.answer(CANARY, "alone")
    trial.wait(4)
    assert trial.look().unmatched_canary == 1
    assert trial.look() == Looked(trial.cursor, [])
    assert (trial.total.pairs, trial.total.unmatched_stable) == (1, 1)


def test_a_worker_that_dies_before_it_writes_compares_again(trial: Trial) -> None:
    trial.both("a")
    trial.answer(STABLE, "b")
    first = trial.look(dies=True)
    assert trial.look(dies=True) == first
    assert trial.look() == first
    trial.answer(CANARY, "b")
    assert ids(trial.look()) == ["b"]
    assert trial.total.pairs == 2


def test_requests_of_one_id_and_body_are_paired_across_looks(trial: Trial) -> None:
    trial.answer(STABLE, "same", "same", "same")
    trial.answer(CANARY, "same")
    assert len(trial.look().compared) == 1
    trial.answer(CANARY, "same", "same")
    assert len(trial.look().compared) == 2
    trial.wait(9)
    trial.look()
    assert (trial.total.pairs, trial.total.unmatched_stable) == (3, 0)


def test_replicas_of_the_canary_are_one_side(trial: Trial) -> None:
    trial.canary = (CANARY, SECOND)
    trial.answer(STABLE, "a", "b")
    trial.answer(SECOND, "b")
    trial.answer(CANARY, "a")
    assert ids(trial.look()) == ["a", "b"]


def test_what_fell_out_of_the_ring_is_counted_once(trial: Trial) -> None:
    trial.both("first")
    trial.look()
    trial.log.room = 3
    trial.both(*names(range(10)))
    assert trial.look().lost == 14
    assert trial.look().lost == 0
    assert trial.total.pairs == 4


def test_what_waits_and_falls_out_is_lost_and_what_is_settled_beside_it_is_not(
    trial: Trial,
) -> None:
    trial.answer(STABLE, "waits")
    trial.both("a", "b")
    trial.look()
    trial.log.room = 1
    looked = trial.look()
    assert (looked.lost, looked.unmatched_stable) == (1, 0)
    assert trial.look().lost == 0


def test_what_was_gone_before_the_first_look_is_not_lost(trial: Trial) -> None:
    trial.log.room = 2
    trial.both(*names(range(10)))
    looked = trial.look()
    assert (len(looked.compared), looked.lost) == (2, 0)
    assert trial.look().lost == 0


def test_a_first_look_at_an_empty_ring_starts_there(trial: Trial) -> None:
    trial.log.room = 0
    trial.both(*names(range(5)))
    assert trial.look().lost == 0
    trial.log.room = 9
    trial.both("new")
    trial.log.room = 1
    looked = trial.look()
    assert (ids(looked), looked.lost) == (["new"], 0)


def test_an_earlier_trials_answers_are_left_out(trial: Trial) -> None:
    trial.answer(STABLE, "old")
    trial.wait(10)
    trial.since = trial.now
    trial.both("new")
    looked = trial.look()
    assert (ids(looked), looked.unmatched_stable, looked.lost) == (["new"], 0, 0)


def test_a_restarted_server_is_read_from_its_beginning(trial: Trial) -> None:
    trial.both(*names(range(5)))
    trial.answer(STABLE, "gone with it")
    trial.answer(CANARY, "waits")
    trial.look()
    trial.log.restart(CANARY)
    trial.both("a", "b")
    looked = trial.look()
    assert ids(looked) == ["a", "b"]
    assert looked.restarts == 1
    assert looked.lost == 1
    trial.wait(5)
    assert trial.look().unmatched_stable == 1
    assert trial.look().restarts == 0


def test_a_restarted_server_that_is_ahead_of_the_cursor_loses_nothing(trial: Trial) -> None:
    trial.both("a")
    trial.look()
    trial.log.restart(CANARY)
    trial.both(*names(range(7)))
    assert len(trial.look().compared) == 7


def test_a_ring_that_overflowed_since_the_restart_is_counted(trial: Trial) -> None:
    trial.both("a")
    trial.look()
    trial.log.restart(CANARY)
    trial.answer(CANARY, *names(range(5)))
    trial.log.room = 2
    looked = trial.look()
    assert (looked.restarts, looked.lost) == (1, 3)


def test_a_replica_that_is_gone_takes_what_waited_with_it(trial: Trial) -> None:
    trial.canary = (CANARY, SECOND)
    trial.answer(SECOND, "waits")
    trial.look()
    trial.canary = (CANARY,)
    assert trial.look().lost == 1
    assert trial.look().lost == 0


def test_a_server_that_does_not_answer_is_tried_again(trial: Trial) -> None:
    trial.both("a")
    trial.log.down.add(CANARY)
    with pytest.raises(Transient):
        trial.look()
    trial.log.down.clear()
    assert ids(trial.look()) == ["a"]


@pytest.mark.parametrize(
    ("silent", "words"),
    [({STABLE}, "Stable's server"), ({CANARY}, "The canary's"), ({STABLE, CANARY}, "Neither")],
)
def test_a_server_that_keeps_nothing_is_said_to(
    trial: Trial, silent: set[int], words: str
) -> None:
    trial.log.silent |= silent
    trial.both("a")
    trial.wait(5)
    looked = trial.look()
    assert words in looked.problem
    assert "cannot be compared" in looked.problem
    assert (looked.unmatched_stable, looked.unmatched_canary) == (0, 0)
    assert comparison.sentence(trial.total) == looked.problem


@pytest.mark.parametrize(("tolerance", "agrees"), [(0.1, True), (0.01, False)])
def test_numbers_may_differ_by_the_tolerance(tolerance: float, agrees: bool) -> None:
    log = MemoryAnswers()
    for port, score in ((STABLE, 0.5), (CANARY, 0.55)):
        score_of = (Output("score", "FP32", (1,), (score,)),)
        log.keep(Kept(port, 0, START.timestamp(), "a", "b", 200, 1.0, score_of))
    (found,) = (
        Comparator(log, tolerance=tolerance)
        .look({}, stable_ports=[STABLE], canary_ports=[CANARY], now=START)
        .compared
    )
    assert found.agrees is agrees


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_request_counts_once(seed: int) -> None:
    """Deaths, slow counterparts and twins: each pair is compared once, and none is forgotten."""
    chance, trial, owed = random.Random(seed), Trial(), list[str]()
    for turn in range(60):
        for request in names(range(turn * 10, turn * 10 + chance.randrange(10))):
            twins = [request] * chance.choice([1, 1, 1, 2])
            trial.answer(STABLE, *twins)
            owed += twins
        chance.shuffle(owed)
        ready = chance.randrange(len(owed) + 1)
        trial.answer(CANARY, *owed[:ready])
        del owed[:ready]
        trial.wait(0.01)
        trial.look(dies=chance.random() < 0.3)
    trial.answer(CANARY, *owed)
    trial.look()
    trial.wait(10)
    trial.look()
    asked = len(trial.log._answers[STABLE])
    assert trial.total.pairs == asked
    assert (trial.total.unmatched_stable, trial.total.unmatched_canary) == (0, 0)
    assert (trial.total.lost, trial.total.agreeing) == (0, asked)


def test_the_cursor_stays_small(trial: Trial) -> None:
    trial.answer(STABLE, "waits")
    trial.both(*names(range(2000)))
    trial.look()
    assert len(orjson.dumps(trial.cursor)) < 200
