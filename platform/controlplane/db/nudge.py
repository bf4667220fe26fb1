"""After a commit, ask for a pass soon.

A nudge is a courtesy: when it is lost, the sweep finds the row a second later. It names
the worker's task as text, so that nothing here imports the workers.
"""

from functools import cache

import structlog
from celery import Celery
from django.db import transaction

log = structlog.get_logger(__name__)


def nudge(kind: str, row_id: int, *, queue: str = "passes", after: float = 0) -> None:
    """Ask, after the current transaction commits, for a pass over one row.

    Args:
        kind: A key of the worker's table of kinds.
        row_id: The row.
        queue: Where the workers listen.
        after: Seconds to wait first.
    """
    transaction.on_commit(lambda: _send(kind, row_id, queue, after), robust=True)


def _send(kind: str, row_id: int, queue: str, after: float) -> None:
    try:
        _sender().send_task(
            "workers.reconcile_one",
            args=[kind, row_id],
            queue=queue,
            retry=False,
            expires=30,
            countdown=after or None,
        )
    except Exception as error:
        log.warning("nudge.lost", kind=kind, row=row_id, error=str(error))


@cache
def _sender() -> Celery:
    """Return an application that knows the broker: in the web process nothing imports the workers.

    Celery's own default would ask for RabbitMQ on this machine, and wait for it.
    """
    sender = Celery("modelyard", set_as_current=False)
    sender.config_from_object("django.conf:settings", namespace="CELERY")
    return sender
