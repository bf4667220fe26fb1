"""Batches without added delay: while one is computed, requests gather, and the next takes them.

A lone request never waits for company, and under load the batches grow by themselves. One call of
the model runs at a time: in a thread, so that a slow model never holds up a health probe; or, when
the model has been answering in less than the two hand-overs to a thread cost, where we are.
All bookkeeping happens on the event loop, so nothing here needs a lock.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter

import numpy as np

from workers.runtimes.oip.protocol import Array, Refused

BRIEF = 0.0005  # seconds; a model that is quicker than this is not worth a thread

Arrays = Mapping[str, Array]
Run = Callable[[Arrays], Arrays]


@dataclass(slots=True)
class _Waiting:
    """One request, and the promise of its answer."""

    inputs: Arrays
    rows: int  # 0: not to be joined with others
    kind: tuple[tuple[int, ...], ...]  # requests of one kind differ in their rows only
    answer: asyncio.Future[Arrays]


class Batcher:
    """Runs a model for many callers at a time."""

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        max_queue: int,
        joinable: bool,
        observe: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        """Start the computing thread; call this on the event loop.

        Args:
            run: Computes outputs from inputs; never called twice at the same time.
            max_batch: Rows that one call of `run` may get; a larger request is run alone.
            max_queue: Requests that may wait.
            joinable: Whether rows are independent, so that requests may share a call.
            observe: Told the rows and the seconds of every call of `run`.
        """
        self._run, self._observe = run, observe
        self._max_batch, self._max_queue = max_batch, max_queue
        self._joinable = joinable and max_batch > 1
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._usual_seconds = 1.0  # falls with every quick answer, rises at once with a slow one
        self._work: SimpleQueue[list[_Waiting]] = SimpleQueue()
        threading.Thread(target=self._compute, name="inference", daemon=True).start()

    @property
    def depth(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def submit(self, inputs: Arrays) -> asyncio.Future[Arrays]:
        """Return the promise of the model's outputs for `inputs`.

        Raises:
            Refused: Too many requests wait already (503).
        """
        if len(self._waiting) >= self._max_queue:
            raise Refused(f"{self._max_queue} requests are waiting; try again soon.", status=503)
        answer: asyncio.Future[Arrays] = self._loop.create_future()
        rows, kind = self._company(inputs)
        self._waiting.append(_Waiting(inputs, rows, kind, answer))
        if not self._busy:
            self._busy = True
            # Not at once: what else has arrived is read in this same turn of the loop.
            self._loop.call_soon(self._next)
        return answer

    def _company(self, inputs: Arrays) -> tuple[int, tuple[tuple[int, ...], ...]]:
        if not self._joinable:
            return 0, ()
        shapes = [array.shape for array in inputs.values()]
        rows = {shape[0] for shape in shapes}
        return (rows.pop() if len(rows) == 1 else 0), tuple(shape[1:] for shape in shapes)

    def _next(self) -> None:
        batch = self._take()
        self._busy = bool(batch)
        if not batch:
            return
        if self._usual_seconds < BRIEF and _is_small(batch, self._max_batch):
            self._settle(batch, *_timed(self._run, batch))
        else:
            self._work.put(batch)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            head = self._waiting[0]
            if head.answer.done():  # its caller has gone
                self._waiting.popleft()
                continue
            fits = head.rows and rows + head.rows <= self._max_batch
            if batch and not (fits and batch[0].rows and head.kind == batch[0].kind):
                break
            batch.append(self._waiting.popleft())
            rows += head.rows
        return batch

    def _compute(self) -> None:
        while True:
            batch = self._work.get()
            outcome = _timed(self._run, batch)
            try:
                self._loop.call_soon_threadsafe(self._settle, batch, *outcome)
            except RuntimeError:  # the loop is closed: the process is ending
                return

    def _settle(
        self, batch: list[_Waiting], answers: list[Arrays | Exception], seconds: float
    ) -> None:
        self._usual_seconds = max(seconds, 0.9 * self._usual_seconds)
        self._observe(sum(waiting.rows or 1 for waiting in batch), seconds)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
        # In the next turn of the loop, which reads first what has arrived meanwhile.
        self._loop.call_soon(self._next)


def _is_small(batch: list[_Waiting], max_batch: int) -> bool:
    firsts = [size for one in batch for array in one.inputs.values() for size in array.shape[:1]]
    return max(firsts, default=1) <= max_batch


def _timed(run: Run, batch: list[_Waiting]) -> tuple[list[Arrays | Exception], float]:
    started = perf_counter()
    answers = answer_all(run, [waiting.inputs for waiting in batch])
    return answers, perf_counter() - started


def answer_all(run: Run, batch: list[Arrays]) -> list[Arrays | Exception]:
    """Return one answer for each request; a request that fails does not spoil its neighbours'."""
    if len(batch) == 1:
        return [_attempt(run, batch[0])]
    try:
        return list(_together(run, batch))
    except Exception:
        return [_attempt(run, inputs) for inputs in batch]


def _attempt(run: Run, inputs: Arrays) -> Arrays | Exception:
    try:
        return run(inputs)
    except Exception as error:
        return error


def _together(run: Run, batch: list[Arrays]) -> list[Arrays]:
    joined = {name: np.concatenate([one[name] for one in batch]) for name in batch[0]}
    outputs = run(joined)
    ends = np.cumsum([len(next(iter(one.values()))) for one in batch]).tolist()
    starts = [0, *ends[:-1]]
    if any(len(array) != ends[-1] for array in outputs.values()):
        raise ValueError("an output has another number of rows than the inputs")
    return [
        {name: array[start:end] for name, array in outputs.items()}
        for start, end in zip(starts, ends, strict=True)
    ]
