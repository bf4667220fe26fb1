"""What a worker that starts takes back from the one that was killed before it.

A killed worker's rows stay leased until the lease ends, up to minutes. On one machine there is
one worker, and whatever starts it has ended the old one's children first: nobody can still hold
a lease then, so all of them are freed at once. In production there are many workers, and the
leases end by themselves.
"""

from typing import Any

import structlog
from celery.signals import worker_init
from django.db import DatabaseError, connection

from controlplane.project.settings.env import current
from workers import wiring

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
