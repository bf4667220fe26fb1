"""Modelyard's door on a free port, served by uvicorn in a thread, with a worker beside it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from django.db import connections

from apps.registry import upstream
from apps.registry.discover import Discovery
from apps.registry.door import proxy
from apps.registry.models import ModelVersion
from apps.registry.ports import ModelStore
from apps.registry.reconcile import VersionReconciler
from tests.mlflow_server import free_port
from workers import loop


@contextmanager
def open_door() -> Iterator[str]:
    """Serve the door, and yield its address, with /mlflow."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(door_alone, host="127.0.0.1", port=port, log_level="warning")
    )
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server)), daemon=True)
    # The server's threads end without a word: each gives its connection back after each use.
    age, connections.settings["default"]["CONN_MAX_AGE"] = (
        connections.settings["default"]["CONN_MAX_AGE"],
        0,
    )
    thread.start()
    give_up = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < give_up, "uvicorn did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/mlflow"
    finally:
        server.should_exit = True
        thread.join(10)
        upstream.client().close()
        upstream.client.cache_clear()
        connections.settings["default"]["CONN_MAX_AGE"] = age


async def door_alone(scope: Any, receive: Any, send: Any) -> None:
    """Answer what the whole web would pass to the door."""
    if scope["type"] == "lifespan":
        return
    await proxy.mlflow_door(scope, receive, send)


async def _serve(server: uvicorn.Server) -> None:
    await server.serve()
    await proxy.close()
    await asyncio.get_running_loop().shutdown_default_executor()


@contextmanager
def worker(store: ModelStore, scratch: Path) -> Iterator[VersionReconciler]:
    """Run passes over due versions twenty times a second, as a worker does when nudged."""
    reconciler = VersionReconciler(
        store, public_url="http://modelyard.test", scratch=scratch, upload_limit=10**9
    )
    kind = loop.Kind(ModelVersion, lambda: reconciler)
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.wait(0.05):
                loop.sweep(kind, now=lambda: datetime.now(UTC))
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield reconciler
    finally:
        stop.set()
        thread.join(30)


@contextmanager
def looking(store: ModelStore, *, seconds: float = 10.0) -> Iterator[None]:
    """Look for what happened behind our back as often as the beat does."""
    look, stop = Discovery(store), threading.Event()

    def work() -> None:
        try:
            while not stop.wait(seconds):
                look(datetime.now(UTC))
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def until(true: Callable[[], Any], *, seconds: float = 30) -> float:
    """Wait until `true()`, and return how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not become true in time"
        time.sleep(0.02)
    return time.monotonic() - began


def passes(reconciler: VersionReconciler, *, most: int = 20) -> int:
    """Run passes until nothing is due, however long that would take; return how many."""
    kind = loop.Kind(ModelVersion, lambda: reconciler)
    for turn in range(most):
        later = datetime.now(UTC) + timedelta(hours=1 + turn)
        if not loop.sweep(kind, now=partial(_same, later)):
            return turn
    raise AssertionError(f"something is still due after {most} passes")


def _same(at: datetime) -> datetime:
    return at
