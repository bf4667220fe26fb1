"""The life of a server: listen, load, warm up, answer, drain, end.

1. It listens at once, so that its liveness can be asked while a large model loads.
2. The bundle is hashed, the model loaded and run once; only then it is ready.
3. If that fails it leaves its words (`problem.py`) and exits with a status that says whether
   another try could help.
4. On SIGTERM it is not ready from that instant, keeps answering for a moment while its callers
   are asked to connect elsewhere, finishes what it has accepted, and exits with 0.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar

import uvicorn

from workers.runtimes.oip import bundle, options, problem, warmup
from workers.runtimes.oip.app import App, Identity
from workers.runtimes.oip.batching import Batcher
from workers.runtimes.oip.model import Model
from workers.runtimes.oip.options import Options
from workers.runtimes.oip.problem import Problem

LINGER = 0.5  # seconds in which callers with open connections learn that they should leave
PATIENCE = 30  # seconds for requests that were accepted
KEEP_ALIVE = 2 * 60 * 60  # seconds; longer than any proxy's, so that the proxy closes first

T = TypeVar("T")
Load = Callable[[Options, dict[str, Any]], Model]


def main(argv: Sequence[str], load: Load) -> None:
    """Serve one bundle until SIGTERM; never returns.

    Args:
        argv: The command line; see `options`.
        load: Makes the model from the options and the bundle's configuration.
    """
    told = options.read(argv)
    told.problem.unlink(missing_ok=True)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            status = runner.run(_Server(told, load).run())
    except Problem as gave_up:
        gave_up.leave(told.problem)
        status = gave_up.status
    sys.stdout.flush()
    sys.stderr.flush()
    # The inference thread may be deep in native code: leave without waiting for it.
    os._exit(status)


class _Server:
    """One process's server."""

    def __init__(self, told: Options, load: Load) -> None:
        self._told, self._load = told, load
        self._app = App(
            Identity(told.name, told.revision, told.digest),
            max_body=told.settings.get("max_body", 64 * 1024**2),
        )
        self._http = uvicorn.Server(
            uvicorn.Config(
                self._app,
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                ws="none",
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=PATIENCE,
            )
        )
        self._gave_up: Problem | None = None

    async def run(self) -> int:
        """Serve, and return the exit status."""
        listener = _listen(self._told)
        self._http.handle_exit = self._on_signal  # type: ignore[method-assign]
        self._loop = asyncio.get_running_loop()
        # The task is kept: the loop itself holds tasks weakly.
        starting = asyncio.create_task(self._start())
        await self._http.serve(sockets=[listener])
        starting.cancel()
        if self._gave_up:
            raise self._gave_up
        return 0

    async def _start(self) -> None:
        try:
            model, joinable = await _in_thread(self._prepare)
        except Problem as gave_up:
            self._gave_up = gave_up
            self._http.should_exit = True
            return
        settings = self._told.settings
        self._app.model = model
        self._app.batcher = Batcher(
            model.run,
            max_batch=settings.get("max_batch", 1),
            max_queue=settings.get("max_queue", 1024),
            joinable=joinable,
            observe=self._app.metrics.observe_batch,
        )
        print(f"Ready: {self._told.name} at {self._told.host}:{self._told.port}.", flush=True)

    def _prepare(self) -> tuple[Model, bool]:
        config = bundle.verified(self._told.bundle, self._told.digest)
        model = loaded(self._load, self._told, config)
        golden = warmup.golden_inputs(self._told.bundle, config, model)
        return model, warmup.run(model, golden)

    def _on_signal(self, sig: int, frame: FrameType | None) -> None:
        if self._app.draining and sig == signal.SIGINT:
            self._http.force_exit = True
        if not self._app.draining:
            self._app.draining = True
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._drain()))

    async def _drain(self) -> None:
        connections = self._http.server_state.connections
        deadline = self._loop.time() + LINGER
        while connections and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        self._http.should_exit = True


def loaded(load: Load, told: Options, config: dict[str, Any]) -> Model:
    """Return the model that `load` makes.

    Raises:
        Problem: It raised anything at all; a model's own code may even raise SystemExit.
    """
    try:
        return load(told, config)
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        raise _not_loaded(error) from error


def _not_loaded(error: BaseException) -> Problem:
    return Problem(
        "The model could not be loaded.",
        code="server.model_not_loaded",
        remedy="Read the server's own words; then register a corrected version, or serve another "
        "variant.",
        words=f"{type(error).__name__}: {error}",
        status=problem.BAD_MODEL,
    )


def _listen(told: Options) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in told.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((told.host, told.port))
    except OSError as error:
        raise Problem(
            f"Port {told.port} on {told.host} cannot be listened on.",
            code="server.port_taken",
            remedy="It is tried again; if this stays, find out who holds the port.",
            words=str(error),
            status=problem.TRY_AGAIN,
        ) from error
    listener.setblocking(False)
    return listener


async def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def call() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (work(), None)
        except BaseException as error:
            outcome = (None, error)
        loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=call, name="loading", daemon=True).start()
    return await answer


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 (optional: a model's own environment may not have it)
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
