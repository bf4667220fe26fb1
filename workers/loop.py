"""Claim due rows, run one pass over each, and say what to do when a pass fails.

1. `claim_due` takes the rows that are due and that nobody holds.
2. Where many rows ask the same of the database, it is asked once for all of them.
3. The kind's reconciler observes, decides and does one thing, and records what it saw.
4. `Transient`: try again, later each time. `Permanent`: the reconciler parks the row with its
   reason. Anything else is logged with its traceback and counts as transient five times,
   then parks. One row never stops another.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import structlog
from django.db import connection, connections
from django.db.models import F

from controlplane.db.reconcile import Claim, Reconcilable, claim_due, claim_one
from controlplane.kernel.errors import ControlPlaneError, Permanent, Transient

log = structlog.get_logger(__name__)

PATIENCE = 5  # unexpected failures before a row is parked
LONGEST_PAUSE = 300  # seconds
SWEEP = timedelta(seconds=0.5)  # for one kind; the next sweep of the beat goes on
ROUND = timedelta(seconds=15)  # with one more pass after it, shorter than a task may take


class Reconciler(Protocol):
    """Drives rows of one kind, one pass at a time."""

    def __call__(self, claim: Claim[Any], now: datetime) -> None:
        """Run one pass and record it through `claim`."""
        ...

    def park(self, claim: Claim[Any], error: ControlPlaneError, now: datetime) -> None:
        """Record that the row cannot go on, why, and what would help."""
        ...


@runtime_checkable
class ManyAtOnce(Protocol):
    """A reconciler that can do for the rows of a sweep at once what passes would do one by one.

    It may read together and leave what it read on the rows, where their passes find it; it may
    also run whole passes together, those that only write down that all goes on as it did.
    """

    def together(self, claims: Sequence[Claim[Any]], now: datetime) -> Sequence[Claim[Any]]:
        """Do what can be done together, and return the claims that want passes of their own."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of row that the loop drives.

    Attributes:
        model: The rows.
        reconciler: Makes the reconciler; called once per process, on first use.
        lease: How long one pass may hold a row; longer than any pass takes.
        threads: How many passes run side by side, in a sweep of their own; 0 for kinds whose
            passes are short and run one after the other, with everybody else's.
    """

    model: type[Reconcilable]
    reconciler: Callable[[], Reconciler]
    lease: timedelta = timedelta(seconds=45)
    threads: int = 0


def sweep(kind: Kind, *, now: Callable[[], datetime], limit: int = 50) -> int:
    """Run a pass over every due row, and return how many there were."""
    claims = claim_due(kind.model, now=now(), lease=kind.lease, limit=limit)
    for claim in _together(kind, claims, now()):
        run_pass(kind, claim, now=now())
    return len(claims)


def _together(kind: Kind, claims: Sequence[Claim[Any]], now: datetime) -> Sequence[Claim[Any]]:
    """Do what can be done for many rows at once; return the claims that want their own passes."""
    reconciler = kind.reconciler()
    if len(claims) < 2 or not isinstance(reconciler, ManyAtOnce):
        return claims
    try:
        return reconciler.together(claims, now)
    except Exception:  # each pass finds out for itself
        log.exception("sweep.failed", kind=kind.model._meta.label, rows=len(claims))
        return claims


def sweep_all(kind: Kind, *, now: Callable[[], datetime], limit: int = 50) -> int:
    """Run passes until nothing is due, or the round is over; return how many there were.

    One sweep alone takes a bounded number of rows. With a thousand rollouts more fall due each
    second than that, and would be later and later.
    """
    until, ran = now() + SWEEP, 0
    while now() < until:
        there = sweep(kind, now=now, limit=limit)
        ran += there
        if there < limit:
            break
    return ran


def sweep_beside(name: str, kind: Kind, *, now: Callable[[], datetime]) -> int:
    """Run passes over due rows side by side, for passes that wait for strangers.

    Only one worker does it at a time, however many there are: a receiver that does not answer
    may hold up other messages, but never a rollout. Each row is claimed by the thread that takes
    it up, so that no lease runs out in a queue.

    Args:
        name: The kind's name, for the lock.
        kind: One with `threads`.
        now: The clock.

    Returns:
        How many passes there were.
    """
    due = kind.model._default_manager.filter(next_reconcile_at__lte=now())
    threads = due[: kind.threads].count()
    if not threads:
        return 0
    with _alone(name) as alone:
        if not alone:
            return 0
        with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
            until = now() + ROUND
            return sum(pool.map(lambda _: _passes(kind, now, until), range(threads)))


def sweep_strangers(kinds: Mapping[str, Kind], *, now: Callable[[], datetime]) -> int:
    """Sweep every kind that waits for strangers and has something due, side by side.

    One process of all does it, however many kinds there are: the others stay free for what must
    not wait.
    """
    due = {name: kind for name, kind in kinds.items() if kind.threads and _is_due(kind, now())}
    if not due:
        return 0
    with _alone("strangers") as alone:
        if not alone:
            return 0
        with ThreadPoolExecutor(len(due), thread_name_prefix="strangers") as pool:
            return sum(pool.map(lambda name: _swept(name, due[name], now=now), due))


def _is_due(kind: Kind, now: datetime) -> bool:
    return kind.model._default_manager.filter(next_reconcile_at__lte=now).exists()


def _swept(name: str, kind: Kind, *, now: Callable[[], datetime]) -> int:
    try:
        return sweep_beside(name, kind, now=now)
    finally:
        connections.close_all()  # this thread's own


def _passes(kind: Kind, now: Callable[[], datetime], until: datetime) -> int:
    """Run one pass after the other until nothing is due, or the round is over."""
    ran = 0
    try:
        while now() < until and sweep(kind, now=now, limit=1):
            ran += 1
    finally:
        connections.close_all()  # this thread's own
    return ran


@contextmanager
def _alone(name: str) -> Iterator[bool]:
    """Hold the lock of a kind for a while; yields whether we got it.

    PostgreSQL drops it with the connection, so a worker that is killed does not keep it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [f"sweep {name}"])
        got = bool(cursor.fetchone()[0])
        try:
            yield got
        finally:
            if got:
                cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [f"sweep {name}"])


def reconcile_one(kind: Kind, pk: int, *, now: datetime) -> bool:
    """Run a pass over one row unless somebody else holds it; return whether it ran."""
    claim = claim_one(kind.model, pk, now=now, lease=kind.lease)
    if claim is None:
        return False
    run_pass(kind, claim, now=now)
    return True


def run_pass(kind: Kind, claim: Claim[Any], *, now: datetime) -> None:
    """Run one pass, and keep the loop alive whatever it raises."""
    row = claim.row
    try:
        kind.reconciler()(claim, now)
    except Permanent as error:
        log.warning("pass.parked", kind=row._meta.label, row=row.pk, problem=str(error))
        kind.reconciler().park(claim, error, now)
    except Transient as error:
        _back_off(claim, now)
        log.info("pass.postponed", kind=row._meta.label, row=row.pk, problem=str(error))
    except Exception as error:
        log.exception("pass.failed", kind=row._meta.label, row=row.pk)
        if row.attempts + 1 < PATIENCE:
            _back_off(claim, now)
        else:
            kind.reconciler().park(claim, _unexpected(error), now)


def _back_off(claim: Claim[Any], now: datetime) -> None:
    pause = min(2**claim.row.attempts, LONGEST_PAUSE) * random.uniform(0.8, 1.2)  # noqa: S311
    claim.record(next_at=now + timedelta(seconds=pause), attempts=F("attempts") + 1)


def _unexpected(error: Exception) -> ControlPlaneError:
    return ControlPlaneError(
        f"{type(error).__name__}: {error}",
        remedy="This is a fault of Modelyard's own; the worker's log has its traceback.",
        code="worker.unexpected",
    )
