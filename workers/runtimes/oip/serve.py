"""The life of a server: listen, load, warm up, answer, drain, end.

1. It listens at once, so that its liveness can be asked while a large model loads.
2. The bundle is hashed, the model loaded and run once; only then it is ready.
3. If that fails it leaves its words (`problem.py`) and exits with a status that says whether
   another try could help.
4. On SIGTERM it is not ready from that instant, keeps answering for a moment while its callers
   are asked to connect elsewhere, finishes what it has accepted, and exits with 0.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import uvicorn

from workers.runtimes.oip import bundle, options, problem, protocol
from workers.runtimes.oip.app import App, Identity, Model
from workers.runtimes.oip.batching import Arrays, Batcher
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
        try:
            model = self._load(self._told, config)
        except Problem:
            raise
        except BaseException as error:  # a model's own code may raise anything, SystemExit too
            traceback.print_exc(file=sys.stderr)
            raise _not_loaded(error) from error
        return model, warm_up(model, _golden_inputs(self._told.bundle, config, model))

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


def warm_up(model: Model, golden: list[Arrays]) -> bool:
    """Run the model once or twice, and return whether its rows may be joined with others'.

    A model that does not answer these inputs is still served: they may mean nothing to it.
    """
    joinable = False
    try:
        for inputs in golden[:1]:
            model.run(inputs)
        for rows in (1, 2):
            outputs = model.run(_zeros(model, rows))
            joinable = _has_rows(model) and all(
                array.ndim > 0 and len(array) == rows for array in outputs.values()
            )
            if not joinable:
                break
    except Exception as error:
        joinable = False
        print(f"The warm-up was not answered: {type(error).__name__}: {error}", file=sys.stderr)
    return joinable


def _has_rows(model: Model) -> bool:
    return all(spec.shape and spec.shape[0] < 0 for spec in model.inputs)


def _zeros(model: Model, rows: int) -> Arrays:
    made = {}
    for spec in model.inputs:
        shape = [1 if size < 0 else size for size in spec.shape]
        if spec.shape and spec.shape[0] < 0:
            shape[0] = rows
        filling = "" if spec.datatype == "BYTES" else 0
        made[spec.name] = np.full(shape, filling, dtype=protocol.DATATYPES[spec.datatype])
    return made


def _golden_inputs(folder: Path, config: dict[str, Any], model: Model) -> list[Arrays]:
    """Return the inputs of the bundle's golden cases, where they can be read."""
    if not config.get("golden"):
        return []
    try:
        cases = json.loads((folder / config["golden"]).read_bytes())["cases"]
        bodies = [json.dumps({"inputs": case["inputs"]}).encode() for case in cases]
        return [
            protocol.read_request(body, inputs=model.inputs, outputs=model.outputs).inputs
            for body in bodies
        ]
    except (OSError, KeyError, TypeError, ValueError, protocol.Refused) as error:
        print(f"The golden cases are not usable for a warm-up: {error}", file=sys.stderr)
        return []


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
