"""A light, open-loop traffic: requests are sent on time, whatever became of those before."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx

from tests.chaos import models
from tests.chaos.records import Asked, Place

MOST = 200  # requests on their way; what would be more is counted as not sent
SECONDS = 5.0  # that a caller waits


class Traffic:
    """Asks every place in turn, and writes down every answer."""

    def __init__(self, places: Sequence[Place], *, each: float) -> None:
        """Ask each place `each` times a second."""
        self._places, self._pace = list(places), 1 / (each * len(places))
        self._poison: dict[Place, int] = {}
        self._stop = threading.Event()
        self.asked: list[Asked] = []

    def poison(self, place: Place, version: int) -> None:
        """Have one version fail at a place; 0 ends that."""
        self._poison[place] = version

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Send requests while the block runs, and collect those still on their way."""
        thread = threading.Thread(target=lambda: asyncio.run(self._send()), name="traffic")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(3 * SECONDS)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        due, turn = loop.time(), 0
        limits = httpx.Limits(max_connections=MOST, max_keepalive_connections=20)
        async with httpx.AsyncClient(timeout=SECONDS, limits=limits) as http:
            waiting: set[asyncio.Task[None]] = set()
            while not self._stop.is_set():
                place = self._places[turn % len(self._places)]
                if len(waiting) < MOST:
                    task = asyncio.create_task(self._ask(http, place))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                else:
                    self.asked.append(Asked(datetime.now(UTC), place, 0, "not sent"))
                turn, due = turn + 1, due + self._pace
                await asyncio.sleep(max(0.0, due - loop.time()))
            await asyncio.gather(*waiting)

    async def _ask(self, http: httpx.AsyncClient, place: Place) -> None:
        poisoned, at = self._poison.get(place, 0), datetime.now(UTC)
        version, cause = 0, ""
        try:
            answer = await http.post(place.address, json=models.question(poisoned=poisoned))
            if answer.status_code == httpx.codes.OK:
                version = models.answered_by(answer.json(), poisoned=poisoned)
                cause = "" if version else "wrong answer"
            else:
                cause = str(answer.status_code)
        except httpx.HTTPError as error:
            cause = type(error).__name__
        self.asked.append(Asked(at, place, version, cause, poisoned))
