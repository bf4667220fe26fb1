"""Requests share a run of the model, and nobody gets another's answer or another's error."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.runtimes.oip.batching import Arrays, Batcher
from workers.runtimes.oip.protocol import Refused


class Doubling:
    """A model that doubles, counts the rows of its runs, and can be held up."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, inputs: Arrays) -> Arrays:
        assert self.gate.wait(10)
        x = inputs["x"]
        self.runs.append(len(x))
        if (x < 0).any():
            raise ValueError("negative")
        return {"y": 2 * x}


def rows(*values: float) -> Arrays:
    return {"x": np.array(values, dtype=np.float64).reshape(-1, 1)}


def within_loop(work: Callable[[Batcher, Doubling], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        model = Doubling()
        settings_ = {"max_batch": 8, "max_queue": 100, "joinable": True} | options
        return await work(Batcher(model.run, **settings_), model)

    return asyncio.run(main())


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=12), max_size=30))
def test_everybody_gets_their_own_rows(requests: list[list[float]]) -> None:
    async def work(batcher: Batcher, model: Doubling) -> None:
        answers = await asyncio.gather(*(batcher.submit(rows(*values)) for values in requests))
        for values, answer in zip(requests, answers, strict=True):
            assert answer["y"].reshape(-1).tolist() == [2 * value for value in values]

    within_loop(work)


def test_what_waits_while_one_batch_is_computed_is_the_next_batch() -> None:
    async def work(batcher: Batcher, model: Doubling) -> list[int]:
        model.gate.clear()
        first = batcher.submit(rows(1))
        await asyncio.sleep(0.05)
        others = [batcher.submit(rows(n)) for n in range(10)]
        assert batcher.depth == 10
        model.gate.set()
        await asyncio.gather(first, *others)
        return model.runs

    assert within_loop(work) == [1, 8, 2]


def test_a_request_larger_than_a_batch_runs_alone_and_whole() -> None:
    async def work(batcher: Batcher, model: Doubling) -> list[int]:
        await asyncio.gather(
            batcher.submit(rows(1)), batcher.submit(rows(*range(20))), batcher.submit(rows(2))
        )
        return model.runs

    assert within_loop(work) == [1, 20, 1]


def test_a_request_that_fails_does_not_spoil_its_neighbours() -> None:
    async def work(batcher: Batcher, model: Doubling) -> list[Any]:
        asked = [batcher.submit(rows(value)) for value in (1, -1, 3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    good, bad, also_good = within_loop(work)
    assert good["y"].tolist() == [[2]]
    assert isinstance(bad, ValueError)
    assert also_good["y"].tolist() == [[6]]


def test_rows_that_are_not_independent_are_never_joined() -> None:
    async def work(batcher: Batcher, model: Doubling) -> list[int]:
        await asyncio.gather(*(batcher.submit(rows(n)) for n in range(4)))
        return model.runs

    assert within_loop(work, joinable=False) == [1, 1, 1, 1]


def test_requests_of_other_widths_are_not_joined() -> None:
    async def work(batcher: Batcher, model: Doubling) -> list[int]:
        wide = {"x": np.zeros((1, 3))}
        await asyncio.gather(*(batcher.submit(x) for x in (rows(1), rows(1), wide, wide)))
        return model.runs

    assert within_loop(work) == [2, 2]


def test_one_request_too_many_is_refused() -> None:
    async def work(batcher: Batcher, model: Doubling) -> None:
        asked = [batcher.submit(rows(1)), batcher.submit(rows(1))]
        with pytest.raises(Refused, match="waiting") as refused:
            batcher.submit(rows(1))
        assert refused.value.status == 503
        await asyncio.gather(*asked)

    within_loop(work, max_queue=2)


def test_a_request_whose_caller_left_is_not_computed() -> None:
    async def work(batcher: Batcher, model: Doubling) -> list[int]:
        left, stayed = batcher.submit(rows(1)), batcher.submit(rows(2))
        left.cancel()
        await stayed
        return model.runs

    assert within_loop(work) == [1]


def test_a_quick_model_is_answered_without_its_thread() -> None:
    async def work(batcher: Batcher, model: Doubling) -> set[str]:
        threads = set()
        original = model.run

        def run(inputs: Arrays) -> Arrays:
            threads.add(threading.current_thread().name)
            return original(inputs)

        batcher._run = run
        for _ in range(300):
            await batcher.submit(rows(1))
        return threads

    assert within_loop(work) == {"inference", "MainThread"}
