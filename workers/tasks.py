"""The tasks: another interface, three lines each. Arguments are ids, results are ignored."""

from celery import shared_task

from controlplane.kernel.clock import SystemClock
from workers import loop, wiring

CLOCK = SystemClock()


@shared_task(name="workers.reconcile_one")
def reconcile_one(kind: str, row_id: int) -> None:
    """Run one pass over one row, soon after somebody asked for it."""
    loop.reconcile_one(wiring.KINDS[kind], row_id, now=CLOCK.now())


@shared_task(name="workers.sweep")
def sweep() -> None:
    """Run a pass over every row that is due."""
    wiring.notice(CLOCK.now())
    for kind in wiring.KINDS.values():
        if not kind.threads:
            loop.sweep_all(kind, now=CLOCK.now)


@shared_task(name="workers.deliver")
def deliver() -> None:
    """Hand over every message that is due, and put every question to other sources."""
    loop.sweep_strangers(wiring.KINDS, now=CLOCK.now)


@shared_task(name="workers.measure")
def measure() -> None:
    """Read the proxies' statistics into windows."""
    wiring.measure(CLOCK.now())


@shared_task(name="workers.discover")
def discover() -> None:
    """Find versions that reached MLflow behind our back."""
    wiring.discover(CLOCK.now())


@shared_task(name="workers.tidy")
def tidy() -> None:
    """Drop what has expired: abandoned uploads, old windows, job folders."""
    wiring.tidy(CLOCK.now())
