"""Live events for open pages: server-sent events over PostgreSQL's LISTEN/NOTIFY.

One connection per process listens; every browser hangs off it. An event says what to look at
again, never what it now is, so that nothing here needs an access check beyond "signed in": the
page fetches its own part, with its own check. Missing an event is harmless for the same reason:
whoever was away is told `reset` and looks at everything again.

What a stream says:

    hello   the listener hears; look once more, something may have changed since the page was made
    change  {"topic": "build/3f9k2m", "hint": "log"}: look at what names this topic
    reset   the listener was away; look at everything
    lost    the listener is away; what the page shows may be old
    beat    nothing happened, and we are here
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

import psycopg
import structlog
from django.db import connections

from apps.accounts import identify
from controlplane.db.live import CHANNEL
from controlplane.http.asgi import Application, Receive, Scope, Send
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import Denied

log = structlog.get_logger(__name__)

BEAT_SECONDS = 15.0
PATIENCE_SECONDS = 10.0  # how long one write may wait for a reader that does not read
OLDEST_SECONDS = 900.0  # then the browser connects again, and its session is checked again
PROBE_SECONDS = 20.0  # how long the listener may hear nothing before it asks whether it is deaf
MOST_TOPICS = 40
MOST_PENDING = 200
BACK_OFF = (0.2, 5.0)

Identify = Callable[[Scope], Awaitable[Actor]]


@dataclass(eq=False)
class Reader:
    """One open page.

    Attributes:
        topics: What it asked for; one that ends in "/*" stands for all of its kind.
        pending: What it has not been told yet, each thing once, in the order it happened.
        stirred: Set while there is something to tell.
    """

    topics: frozenset[str]
    pending: dict[tuple[str, str], None] = field(default_factory=dict)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, topic: str) -> bool:
        """Return whether the page shows anything of `topic`."""
        return topic in self.topics or f"{topic.partition('/')[0]}/*" in self.topics

    def tell(self, event: str, data: str = "{}") -> None:
        """Note one event; the same thing said twice is said once.

        A page that is too far behind is told to look at everything, which is as good.
        """
        if event in ("reset", "hello") or len(self.pending) >= MOST_PENDING:
            self.pending.clear()
            event, data = ("reset", "{}") if event == "change" else (event, data)
        self.pending[(event, data)] = None
        self.stirred.set()

    def take(self) -> list[tuple[str, str]]:
        """Return what is to be told, and forget it."""
        told = list(self.pending)
        self.pending.clear()
        self.stirred.clear()
        return told


class Listener:
    """The one connection that listens, and everybody who hangs off it."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Keep how to connect; the first reader makes it connect."""
        self._parameters = dict(parameters)
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None
        self.hearing = False

    def add(self, topics: frozenset[str]) -> Reader:
        """Return a new reader, which is greeted as soon as the listener hears."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen_for_ever())
        reader = Reader(topics)
        self._readers.add(reader)
        reader.tell("hello" if self.hearing else "lost")
        return reader

    def remove(self, reader: Reader) -> None:
        """Forget a page that was closed."""
        self._readers.discard(reader)

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen_for_ever(self) -> None:
        wait = BACK_OFF[0]
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    **self._parameters, autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._now_hearing()
                    wait = BACK_OFF[0]
                    await self._hear(connection)
            except (psycopg.Error, OSError) as error:
                self._now_deaf(str(error).strip())
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311  jitter
            wait = min(wait * 2, BACK_OFF[1])

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            async for notice in connection.notifies(timeout=PROBE_SECONDS):
                self._pass_on(notice.payload)
            await connection.execute("SELECT 1")  # raises when the other end is gone

    def _pass_on(self, payload: str) -> None:
        topic = _topic_of(payload)
        for reader in self._readers:
            if reader.wants(topic):
                reader.tell("change", payload)

    def _now_hearing(self) -> None:
        self.hearing = True
        for reader in self._readers:
            reader.tell("reset")

    def _now_deaf(self, reason: str) -> None:
        if self.hearing:
            log.warning("live.lost", reason=reason)
        self.hearing = False
        for reader in self._readers:
            reader.tell("lost")


def _topic_of(payload: str) -> str:
    try:
        return str(json.loads(payload)["topic"])
    except (ValueError, KeyError, TypeError):
        return ""


# One listener per event loop: a process has one loop, a test suite has many.
_listeners: WeakKeyDictionary[asyncio.AbstractEventLoop, Listener] = WeakKeyDictionary()


def listener() -> Listener:
    """Return this process's listener."""
    loop = asyncio.get_running_loop()
    if loop not in _listeners:
        _listeners[loop] = Listener(_connection_parameters())
    return _listeners[loop]


def _connection_parameters() -> dict[str, Any]:
    settings = connections["default"].settings_dict
    wanted = {
        "dbname": settings["NAME"],
        "user": settings["USER"],
        "password": settings["PASSWORD"],
        "host": settings["HOST"],
        "port": settings["PORT"],
        "connect_timeout": 5,
        "application_name": "modelyard live",
    }
    return {name: value for name, value in wanted.items() if value}


def live_app(who: Identify) -> Application:
    """Return the ASGI application of `/live?topics=a,b`.

    Args:
        who: Says who asks, by session or by token.
    """

    async def live(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] != "GET":
            await _refuse(send, 405, "live.method_not_allowed", "Live events are read by GET.")
            return
        try:
            actor = await who(scope)
        except Denied as error:
            await _refuse(send, 401, error.code, error.sentence)
            return
        if actor.kind is ActorKind.ANONYMOUS:
            await _refuse(send, 401, "access.sign_in", "Sign in first.")
            return
        topics = _topics(scope)
        if not topics or len(topics) > MOST_TOPICS:
            sentence = f"Name between 1 and {MOST_TOPICS} topics: /live?topics=build/ID,home."
            await _refuse(send, 422, "live.topics", sentence)
            return
        await _stream(topics, receive, send)

    return live


def _topics(scope: Scope) -> frozenset[str]:
    query = parse_qs(bytes(scope.get("query_string", b"")).decode("latin-1"))
    return frozenset(t for value in query.get("topics", []) for t in value.split(",") if t)


async def _stream(topics: frozenset[str], receive: Receive, send: Send) -> None:
    """Tell one page what happens, until it goes, stops reading, or has grown old."""
    hub = listener()
    reader = hub.add(topics)
    gone = asyncio.create_task(_until_gone(receive))
    try:
        async with asyncio.timeout(OLDEST_SECONDS):
            await _begin(send)
            while not gone.done():
                await _tell(hub, reader, gone, send)
    except (TimeoutError, OSError):
        pass  # it grew old, or does not read: EventSource comes again by itself
    finally:
        hub.remove(reader)
        gone.cancel()
    if not gone.done() or gone.cancelled():
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _begin(send: Send) -> None:
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await _write(send, "retry: 1000\n\n")


async def _tell(hub: Listener, reader: Reader, gone: "asyncio.Task[None]", send: Send) -> None:
    """Wait for something to tell, or for a beat's length, and write it."""
    stirred = asyncio.create_task(reader.stirred.wait())
    await asyncio.wait({stirred, gone}, timeout=BEAT_SECONDS, return_when="FIRST_COMPLETED")
    stirred.cancel()
    if gone.done():
        return
    events = reader.take() or ([("beat", "{}")] if hub.hearing else [])
    text = "".join(f"event: {event}\ndata: {data}\n\n" for event, data in events)
    await _write(send, text or ": the listener is away\n\n")


async def _write(send: Send, text: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Send, status: int, code: str, sentence: str) -> None:
    body = json.dumps({"status": status, "code": code, "detail": sentence}).encode()
    headers = [(b"content-type", b"application/problem+json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


live_events = live_app(identify.from_scope)
