"""Ask for a pass soon.

A nudge is a courtesy: when it is lost, the sweep finds the row a second later, if it is due. It
names the worker's task as text, so that nothing here imports the workers. To wake a row is more:
one that rests until later becomes due, whatever happens to the message.
"""

from datetime import datetime
from functools import cache

import structlog
from celery import Celery
from django.apps import apps
from django.db import transaction
from django.db.models import Q

from controlplane.db.reconcile import Reconcilable

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


def wake(kind: str, row_id: int, *, now: datetime) -> None:
    """Make a row due that waits for what has just changed, with the current transaction.

    A pass that is under way has looked already, perhaps before the change: it loses its lease,
    and the next one looks again. A row that is being written at this moment is not waited for,
    or two that wake each other would hold each other up; it has the nudge alone.

    Args:
        kind: A key of the worker's table of kinds.
        row_id: The row; one that rests for good, or is gone, is left as it is.
        now: The moment.
    """
    rows = _model(kind)._default_manager
    resting = Q(next_reconcile_at__gt=now) | Q(lease_token__isnull=False)
    free = rows.select_for_update(skip_locked=True, no_key=True).filter(
        resting, pk=row_id, next_reconcile_at__isnull=False
    )
    with transaction.atomic(savepoint=False):
        if free.values_list("pk", flat=True).first() is not None:
            rows.filter(pk=row_id).update(
                next_reconcile_at=now, lease_token=None, lease_expires_at=None
            )
        nudge(kind, row_id)


@cache
def _model(kind: str) -> type[Reconcilable]:
    """Return the rows that can be woken by this name."""
    models = (m for m in apps.get_models() if issubclass(m, Reconcilable))
    return next(model for model in models if model.woken_as == kind)


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
