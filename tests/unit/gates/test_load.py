"""What a load test showed, and when it showed nothing."""

import asyncio
import itertools
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.gates.domain import load
from apps.gates.domain.finding import Verdict
from apps.gates.domain.load import Goal, LoadPlan, LoadResult
from apps.monitoring.domain import histogram
from workers.loadtest import generator

GOAL = Goal(rate=100, availability=0.999, latency_ms=50, latency_share=0.99)
GOOD = LoadResult(
    planned=2000, sent=2000, answered=2000, fast=1999, late=0, seconds=20,
    counts=histogram.empty(), p50_ms=4, p95_ms=9, p99_ms=20, revisions={"3": 2000},
)  # fmt: skip


@pytest.mark.parametrize(
    ("what", "change", "expected"),
    [
        ("held", {}, Verdict.PASSED),
        ("too many not answered", {"answered": 1990, "fast": 1990, "revisions": {"3": 1990}},
         Verdict.FAILED),
        ("too many slow", {"fast": 1900}, Verdict.FAILED),
        ("nothing answered", {"answered": 0, "fast": 0, "revisions": {}}, Verdict.FAILED),
        ("too few requests", {"planned": 100, "sent": 100, "answered": 99, "fast": 99},
         Verdict.UNKNOWN),
        ("held although some went out late", {"late": 100}, Verdict.PASSED),
        ("slow, and late by our own fault", {"late": 100, "fast": 1900}, Verdict.UNKNOWN),
        ("slow, and hardly any late", {"late": 10, "fast": 1900}, Verdict.FAILED),
        ("nearly all went out late", {"late": 500}, Verdict.UNKNOWN),
        ("the generator could not send",
         {"sent": 1500, "answered": 1500, "fast": 1500}, Verdict.UNKNOWN),
        ("somebody else answered", {"revisions": {"3": 1000, "4": 1000}}, Verdict.UNKNOWN),
        ("nobody says who answered", {"revisions": {}}, Verdict.UNKNOWN),
    ],
)  # fmt: skip
def test_a_test_shows_what_it_shows(what: str, change: Any, expected: Verdict) -> None:
    found = load.judge(replace(GOOD, **change), GOAL, revision=3)
    assert found.verdict is expected, f"{what}: {found.sentence}"
    assert found.facts["sent"] == replace(GOOD, **change).sent


@given(sent=st.integers(load.LEAST_REQUESTS, 5000), answered=st.floats(0, 1), fast=st.floats(0, 1))
def test_what_passes_has_met_both_halves_of_the_objective(
    sent: int, answered: float, fast: float
) -> None:
    good = int(sent * answered)
    quick = int(good * fast)
    result = replace(
        GOOD, planned=sent, sent=sent, answered=good, fast=quick, revisions={"3": good}
    )
    if load.judge(result, GOAL, revision=3).verdict is Verdict.PASSED:
        assert good / sent >= GOAL.availability
        assert quick / sent >= GOAL.latency_share


@given(total=st.integers(1, 10_000), share=st.floats(0, 1))
def test_an_interval_of_a_share_holds_it(total: int, share: float) -> None:
    good = int(total * share)
    low, high = load.interval(good, total)
    assert 0 <= low <= good / total + 1e-9
    assert good / total - 1e-9 <= high <= 1


def test_a_test_is_long_enough_to_show_something_and_never_endless() -> None:
    assert load.duration(100) == 20
    assert load.duration(5) == 40
    assert load.duration(0.1) == load.LONGEST_SECONDS


def plan(**change: Any) -> LoadPlan:
    told = {"rate": 50.0, "seconds": 20.0, "slow_ms": 20.0, "timeout_ms": 300.0, **change}
    return LoadPlan(url="http://127.0.0.1:1/x", body={"inputs": []}, **told)


def test_requests_are_due_as_often_as_asked_and_the_same_every_time() -> None:
    due = list(generator.due_times(plan(seconds=200.0)))
    assert due == list(generator.due_times(plan(seconds=200.0)))
    assert 9_000 < len(due) < 11_000
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert max(gaps) > 4 * (sum(gaps) / len(gaps))  # bursts, as callers come
    constant = list(generator.due_times(plan(arrivals="constant")))
    assert len(constant) in (999, 1000)


class Stalling:
    """A server that answers, but stalls for a while in the middle."""

    def __init__(self, *, stall: tuple[float, float] = (0.0, 0.0), status: str = "200 OK") -> None:
        self.stall, self.status, self.began = stall, status, 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.began = self.began or loop.time()
            begin, end = self.stall
            if begin <= (now := loop.time() - self.began) < end:
                await asyncio.sleep(end - now)
            writer.write(
                f"HTTP/1.1 {self.status}\r\nContent-Length: 2\r\n"
                "X-Modelyard-Revision: 3\r\n\r\n{}".encode()
            )

    async def ask(self, socket: Any, **change: Any) -> LoadResult:
        server = await asyncio.start_unix_server(self.serve, socket)
        async with server:
            result = await generator.run(plan(**change))
            await asyncio.sleep(0.05)  # the server's side of the connections closes
            return result


@pytest.fixture
def by_socket(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have connections go to a socket in a folder: no test touches the network."""
    path = str(tmp_path / "s")

    async def connect(self: Any, factory: Any, host: str, port: int, **_: Any) -> Any:
        return await self.create_unix_connection(factory, path)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)
    return path


def test_every_request_is_answered_by_a_server_that_answers(by_socket: Any) -> None:
    result = asyncio.run(Stalling().ask(by_socket, rate=100.0, seconds=2.0, timeout_ms=2000.0))
    assert result.answered == result.sent == result.planned
    assert result.revisions == {"3": result.sent}
    assert sum(result.counts) == result.answered
    assert sum(row["offered"] for row in result.by_second) == result.sent


def test_a_server_that_stalls_cannot_slow_down_the_questions(by_socket: Any) -> None:
    # A client that waits for each answer would see one slow request here. Whoever came during
    # the stall waited for its end: a quarter of all requests.
    result = asyncio.run(
        Stalling(stall=(0.5, 1.0)).ask(by_socket, rate=100.0, seconds=2.0, timeout_ms=2000.0)
    )
    slow = result.answered - result.fast
    assert 0.15 * result.sent < slow < 0.4 * result.sent
    assert result.p99_ms is not None
    assert result.p99_ms > 400


def test_what_is_not_answered_in_time_or_not_well_is_an_error(by_socket: Any) -> None:
    late = asyncio.run(Stalling(stall=(0.0, 9.0)).ask(by_socket, seconds=1.0, timeout_ms=200.0))
    assert late.answered == 0
    assert set(late.errors) == {"No answer in time."}


def test_answers_that_are_errors_are_counted_by_their_words(by_socket: Any) -> None:
    wrong = asyncio.run(Stalling(status="503 Busy").ask(by_socket, seconds=1.0))
    assert wrong.answered == 0
    assert wrong.errors == {"503: {}": wrong.sent}
