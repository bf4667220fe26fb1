"""What is taken back from workers that were killed.

A killed worker's rows stay leased until the lease ends, up to minutes. On one machine there is
one worker, and whatever starts it has ended the old one's children first: nobody can still hold
a lease then, so all of them are freed at once. When only a process of the worker's pool is
killed, the others go on, and every few seconds free what it held: a lease's token says whose it
is. In production the workers of other machines are left alone, and their leases end by themselves.
"""

from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_init
from django.db import DatabaseError, connection

from controlplane.db import holders
from controlplane.project.settings.env import current
from workers import wiring
from workers.loop import Kind

log = structlog.get_logger(__name__)


@worker_init.connect(weak=False, dispatch_uid="workers.recovery")
def take_back(**_: Any) -> None:
    """Free every lease, where this is the only worker."""
    if current().mode != "dev":
        return
    try:
        freed = free_leases()
    except DatabaseError as error:  # the leases end by themselves, later
        log.warning("leases.kept", problem=str(error))
    else:
        log.info("leases.freed", rows=freed)
    finally:
        connection.close()  # the pool's processes must not share it


def free_leases() -> int:
    """Give back every leased row, and return how many there were."""
    return sum(
        kind.model._default_manager.exclude(lease_token=None).update(
            lease_token=None, lease_expires_at=None
        )
        for kind in wiring.KINDS.values()
    )


@shared_task(name="workers.recover")
def recover() -> None:
    """Free what dead processes of this machine held."""
    if freed := free_leases_of_the_dead():
        log.warning("leases.freed", rows=freed, why="their process is gone")


def free_leases_of_the_dead() -> int:
    """Give back the rows whose holder ran on this machine and is gone; return how many."""
    return sum(_free_of_the_dead(kind) for kind in wiring.KINDS.values())


def _free_of_the_dead(kind: Kind) -> int:
    # Whatever is leased has a next pass, and that column has an index.
    leased = kind.model._default_manager.filter(next_reconcile_at__isnull=False)
    held = leased.exclude(lease_token=None).values_list("lease_token", flat=True).distinct()
    dead = [token for token in held if token is not None and holders.is_dead(token)]
    if not dead:
        return 0
    return leased.filter(lease_token__in=dead).update(lease_token=None, lease_expires_at=None)
