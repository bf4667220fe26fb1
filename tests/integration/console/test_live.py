"""Live events over a real PostgreSQL: once committed, to whom it concerns, and after a break."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from apps.console import live
from controlplane.db.live import announce
from controlplane.kernel.actor import ANONYMOUS, Actor, ActorKind
from controlplane.kernel.errors import Denied

pytestmark = pytest.mark.django_db(transaction=True)
ADA = Actor(ActorKind.PERSON, "ada", 1)


class Browser:
    """One open page, as ASGI sees it."""

    def __init__(self, topics: str, who: Actor | Exception = ADA) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.leaving: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.scope = {"type": "http", "method": "GET", "query_string": f"topics={topics}".encode()}
        self.who = who
        self.events: list[tuple[str, dict[str, str]]] = []

    async def run(self) -> None:
        async def who(scope: Any) -> Actor:
            if isinstance(self.who, Exception):
                raise self.who
            return self.who

        await live.live_app(who)(self.scope, self.leaving.get, self.sent.put)

    async def next(self, wanted: str) -> dict[str, str]:
        """Return the data of the next `wanted` event, passing over others."""
        async with asyncio.timeout(10):
            while True:
                for place, (event, data) in enumerate(self.events):
                    if event == wanted:
                        del self.events[: place + 1]
                        return data
                self._read(await self.sent.get())

    def _read(self, message: dict[str, Any]) -> None:
        for block in message.get("body", b"").decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in lines:
                self.events.append((lines["event"], json.loads(lines["data"])))


@asynccontextmanager
async def open_page(topics: str) -> AsyncIterator[Browser]:
    browser = Browser(topics)
    running = asyncio.create_task(browser.run())
    try:
        await browser.next("hello" if live.listener().hearing else "reset")
        yield browser
    finally:
        await browser.leaving.put({"type": "http.disconnect"})
        await asyncio.wait_for(running, 5)


def alone(body: Callable[[], Awaitable[None]]) -> None:
    """Run `body` on its own loop, and stop its listener."""

    async def both() -> None:
        try:
            await body()
        finally:
            await live.listener().close()

    asyncio.run(both())


def beside(work: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Run `work` in a thread, and give that thread's connection back."""

    def closing(*args: Any, **kwargs: Any) -> Any:
        try:
            return work(*args, **kwargs)
        finally:
            connection.close()

    return sync_to_async(closing)


say = beside(announce)


def test_a_change_reaches_the_pages_that_show_it_and_no_other() -> None:
    async def body() -> None:
        async with open_page("build/one") as one, open_page("build/two,home") as two:
            await say("build/one", hint="log")
            await say("home")
            assert await one.next("change") == {"topic": "build/one", "hint": "log"}
            assert await two.next("change") == {"topic": "home", "hint": ""}
            assert two.events == []

    alone(body)


def test_a_page_may_ask_for_all_of_a_kind() -> None:
    async def body() -> None:
        async with open_page("build/*") as page:
            await say("endpoint/x")
            await say("build/y")
            assert (await page.next("change"))["topic"] == "build/y"

    alone(body)


def test_what_is_rolled_back_was_never_said() -> None:
    def undone() -> None:
        with transaction.atomic():
            announce("home", hint="never")
            transaction.set_rollback(True)

    async def body() -> None:
        async with open_page("home") as page:
            await beside(undone)()
            await say("home", hint="after")
            assert (await page.next("change"))["hint"] == "after"

    alone(body)


def test_one_connection_listens_for_all_pages() -> None:
    def listeners() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'modelyard live' AND datname = current_database()"
            )
            return int(cursor.fetchone()[0])

    async def body() -> None:
        async with open_page("a"), open_page("b"), open_page("c"):
            assert await beside(listeners)() == 1

    alone(body)


def test_after_a_break_of_the_connection_every_page_looks_again() -> None:
    def cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'modelyard live' AND datname = current_database()"
            )

    async def body() -> None:
        async with open_page("home") as page:
            await beside(cut)()
            await page.next("lost")
            await page.next("reset")
            await say("home", hint="again")
            assert (await page.next("change"))["hint"] == "again"

    alone(body)


@pytest.mark.parametrize(
    ("browser", "status"),
    [
        (lambda: Browser("home", ANONYMOUS), 401),
        (lambda: Browser("home", Denied("The token has expired.")), 401),
        (lambda: Browser(""), 422),
        (lambda: Browser(",".join(f"t{i}" for i in range(99))), 422),
    ],
)
def test_a_stream_is_refused_with_a_problem(browser: Callable[[], Browser], status: int) -> None:
    async def body() -> None:
        page = browser()
        await asyncio.wait_for(page.run(), 5)
        assert (await page.sent.get())["status"] == status

    asyncio.run(body())


def test_a_page_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE_SECONDS", 0.05)

    async def body() -> None:
        never = asyncio.Event()

        async def stuck(message: Any) -> None:
            if message.get("body", b"").startswith(b"event:"):
                await never.wait()

        async def who(scope: Any) -> Actor:
            return ADA

        async def receive() -> dict[str, Any]:
            await never.wait()
            return {}

        scope = {"type": "http", "method": "GET", "query_string": b"topics=home"}
        await asyncio.wait_for(live.live_app(who)(scope, receive, stuck), 5)

    alone(body)


def test_a_page_far_behind_is_told_to_look_at_everything() -> None:
    reader = live.Reader(frozenset({"build/*"}))
    for number in range(live.MOST_PENDING + 5):
        reader.tell("change", f'{{"topic": "build/{number}"}}')
    told = reader.take()
    assert told[0] == ("reset", "{}")
    assert len(told) < 10
    assert reader.take() == []


def test_the_same_change_twice_is_said_once() -> None:
    reader = live.Reader(frozenset({"home"}))
    reader.tell("change", "{}")
    reader.tell("change", "{}")
    assert reader.take() == [("change", "{}")]
