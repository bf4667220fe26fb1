"""An open-loop generator: requests leave when they are due, whether or not answers come.

1. The times are drawn first, from a seed, so a test can be repeated.
2. At each time a request is given to a free connection, or to a new one.
3. A request's time runs from when it was due until its last byte came; what did not come within
   the timeout counts as not answered, and its connection is closed.

One process, one thread, no retries: a retry would hide a failure. The garbage collector rests
while it runs, since its pauses would be taken for the server's.
"""

import asyncio
import gc
import json
import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools

from apps.gates.domain.load import LoadPlan, LoadResult
from apps.monitoring.domain import histogram

MOST_CONNECTIONS = 512
LATE_MS = 5.0  # after this much of its own delay a request counts as sent late
LONGEST_SENTENCE, MOST_SENTENCES = 160, 20
REVISION = b"x-modelyard-revision"


def due_times(plan: LoadPlan) -> Iterator[float]:
    """Yield when requests are due, in seconds from the beginning."""
    drawn = random.Random(plan.seed)  # noqa: S311 - a schedule, not a secret
    at = 0.0
    while True:
        at += 1 / plan.rate if plan.arrivals == "constant" else drawn.expovariate(plan.rate)
        if at >= plan.seconds:
            return
        yield at


async def run(plan: LoadPlan) -> LoadResult:
    """Ask as planned, and return what was seen."""
    client = _Client(plan)
    await client.warm()
    gc.collect()
    gc.disable()
    try:
        return await _ask(plan, client)
    finally:
        gc.enable()
        client.close()
        await asyncio.sleep(0)  # connections close when the loop comes round


async def _ask(plan: LoadPlan, client: "_Client") -> LoadResult:
    loop = asyncio.get_running_loop()
    dues = list(due_times(plan))
    tally = _Tally(plan, planned=len(dues))
    begin = loop.time() + 0.05
    waiting: set[asyncio.Task[None]] = set()
    for due in dues:
        pause = begin + due - loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
        elif len(waiting) % 16 == 0:
            await asyncio.sleep(0)  # behind: let answers in all the same
        late = (loop.time() - begin - due) * 1000
        tally.offered(due, late)
        task = loop.create_task(_one(client, tally, begin + due, due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    if waiting:
        await asyncio.wait(waiting, timeout=plan.timeout_ms / 1000 + 1)
    return tally.result()


async def _one(client: "_Client", tally: "_Tally", due_at: float, due: float) -> None:
    loop = asyncio.get_running_loop()
    left = tally.plan.timeout_ms / 1000 - (loop.time() - due_at)
    try:
        answer = await client.ask(max(left, 0.001))
    except (TimeoutError, OSError, httptools.HttpParserError) as error:
        tally.failed(_words(error))
        return
    if answer.status == 200:
        tally.answered(due, (loop.time() - due_at) * 1000, answer.revision)
    else:
        tally.failed(f"{answer.status}: {answer.text}")


def _words(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "No answer in time."
    return f"{type(error).__name__}: {error}"


@dataclass
class _Answer:
    status: int
    revision: str
    text: str


class _Client:
    """Keeps connections alive, and opens another when all are busy."""

    def __init__(self, plan: LoadPlan) -> None:
        self._url = urlsplit(plan.url)
        self._request = _request_bytes(plan)
        self._free: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._freed = asyncio.Event()
        self._warm = min(MOST_CONNECTIONS, max(2, int(plan.rate / 50)))

    async def warm(self) -> None:
        """Open a few connections before the clock starts."""
        for _ in range(self._warm):
            self._free.append(await self._open())

    async def ask(self, seconds: float) -> _Answer:
        """Return the answer, or raise when none came in `seconds`."""
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(seconds):
                connection = await self._take()
                answer = await connection.ask(self._request)
        except BaseException:
            if connection is not None:
                self._drop(connection)
            raise
        self._give_back(connection)
        return answer

    def close(self) -> None:
        """Close what is open."""
        for connection in list(self._all):
            self._drop(connection)

    async def _take(self) -> "_Connection":
        while True:
            while self._free:
                connection = self._free.pop()
                if not connection.closed:
                    return connection
                self._drop(connection)
            if len(self._all) < MOST_CONNECTIONS:
                return await self._open()
            self._freed.clear()
            await self._freed.wait()

    async def _open(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        secure = self._url.scheme == "https"
        host, port = self._url.hostname or "", self._url.port or (443 if secure else 80)
        connection = _Connection()
        self._all.add(connection)
        try:
            await loop.create_connection(lambda: connection, host, port, ssl=secure or None)
        except BaseException:
            self._drop(connection)
            raise
        return connection

    def _give_back(self, connection: "_Connection") -> None:
        if connection.closed:
            self._drop(connection)
        else:
            self._free.append(connection)
            self._freed.set()

    def _drop(self, connection: "_Connection") -> None:
        self._all.discard(connection)
        connection.close()
        self._freed.set()


def _request_bytes(plan: LoadPlan) -> bytes:
    url = urlsplit(plan.url)
    body = json.dumps(plan.body).encode()
    lines = [
        f"POST {url.path} HTTP/1.1",
        f"Host: {url.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"X-Api-Key: {plan.key}"] if plan.key else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[_Answer] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._revision, self._body = "", b""

    async def ask(self, request: bytes) -> _Answer:
        self._begin()
        self._done = asyncio.get_running_loop().create_future()
        assert self._transport is not None  # noqa: S101 - it was connected
        self._transport.write(request)
        return await self._done

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of TCP
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._fail(exc or ConnectionResetError("The connection was closed."))

    # the parser calls these

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == REVISION:
            self._revision = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if len(self._body) < LONGEST_SENTENCE:
            self._body += body

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.closed = True
        if self._done is not None and not self._done.done():
            text = self._body[:LONGEST_SENTENCE].decode("utf-8", "replace")
            self._done.set_result(_Answer(self._parser.get_status_code(), self._revision, text))

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


@dataclass
class _Second:
    offered: int = 0
    answered: int = 0
    counts: list[int] = field(default_factory=histogram.empty)


class _Tally:
    """Counts what happened."""

    def __init__(self, plan: LoadPlan, *, planned: int) -> None:
        self.plan = plan
        self._planned = planned
        self._late = self._sent = self._answered = self._fast = 0
        self._last = 0.0
        self._times: list[float] = []
        self._errors: Counter[str] = Counter()
        self._revisions: Counter[str] = Counter()
        self._seconds: dict[int, _Second] = {}

    def offered(self, due: float, late_ms: float) -> None:
        self._sent += 1
        self._late += late_ms > LATE_MS
        self._last = due
        self._second(due).offered += 1

    def answered(self, due: float, milliseconds: float, revision: str) -> None:
        self._answered += 1
        self._fast += milliseconds <= self.plan.slow_ms
        self._times.append(milliseconds)
        self._revisions[revision] += 1
        second = self._second(due)
        second.answered += 1
        second.counts[histogram.bucket_of(milliseconds)] += 1

    def failed(self, words: str) -> None:
        known = words in self._errors or len(self._errors) < MOST_SENTENCES
        self._errors[words[:LONGEST_SENTENCE] if known else "Other errors."] += 1

    def result(self) -> LoadResult:
        times = sorted(self._times)
        return LoadResult(
            planned=self._planned,
            sent=self._sent,
            answered=self._answered,
            fast=self._fast,
            late=self._late,
            seconds=self._last,
            counts=histogram.merge(s.counts for s in self._seconds.values()),
            p50_ms=_quantile(times, 0.5),
            p95_ms=_quantile(times, 0.95),
            p99_ms=_quantile(times, 0.99),
            errors=dict(self._errors),
            revisions={name: count for name, count in self._revisions.items() if name},
            by_second=[self._row(n) for n in sorted(self._seconds)],
        )

    def _row(self, number: int) -> dict[str, Any]:
        second = self._seconds[number]
        return {
            "second": number,
            "offered": second.offered,
            "answered": second.answered,
            "p95_ms": histogram.percentile(second.counts, 0.95),
        }

    def _second(self, due: float) -> _Second:
        return self._seconds.setdefault(int(due), _Second())


def _quantile(ordered: list[float], share: float) -> float | None:
    """Return the exact quantile of what was answered, rounded to a microsecond."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
