"""Rows that a worker drives toward what was asked for.

The pattern is Kubernetes': a row holds the intent, a worker observes the world,
and a loop closes the gap. Correctness rests on the sweep (`claim_due`), which needs
no message to arrive. A nudge only makes the next pass come sooner.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from django.db import models, transaction
from django.db.models import Q

from controlplane.db import bulk
from controlplane.db.holders import new_token


class Reconcilable(models.Model):
    """Columns that let exactly one worker at a time drive a row.

    Attributes:
        woken_as: The kind by which others wake such a row (`nudge.wake`); "" where nobody does.
    """

    woken_as: ClassVar[str] = ""

    next_reconcile_at = models.DateTimeField(null=True, db_index=True)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)

    class Meta:
        """No table of its own."""

        abstract = True


Row = TypeVar("Row", bound=Reconcilable)


@dataclass(frozen=True)
class Claim(Generic[Row]):
    """The right to write one row until the lease expires."""

    row: Row
    token: uuid.UUID

    def record(self, *, next_at: datetime | None, **changes: Any) -> bool:
        """Write `changes` and give the row back.

        Returns False, having written nothing, if the lease was lost in the meantime.
        """
        rows = type(self.row)._default_manager.filter(pk=self.row.pk, lease_token=self.token)
        return bool(
            rows.update(
                lease_token=None, lease_expires_at=None, next_reconcile_at=next_at, **changes
            )
        )


@dataclass(frozen=True)
class Record(Generic[Row]):
    """What one pass has to write: as `Claim.record` takes it."""

    claim: Claim[Row]
    next_at: datetime | None
    changes: Mapping[str, Any]


def record_together(records: Sequence[Record[Row]]) -> list[Record[Row]]:
    """Write for many rows of one kind, all the same columns, and give the rows back.

    Returns those that were written. Left out is whose lease was lost, and whoever a command is
    just writing, which takes the lease away: nobody is waited for. Call it in a transaction,
    with what belongs to the records.
    """
    if not records:
        return []
    model = type(records[0].claim.row)
    held = set(
        model._default_manager.select_for_update(skip_locked=True, no_key=True)
        .filter(
            pk__in=[record.claim.row.pk for record in records],
            lease_token__in={record.claim.token for record in records},
        )
        .values_list("pk", "lease_token")
    )
    kept = [r for r in records if (r.claim.row.pk, r.claim.token) in held]
    names = list(records[0].changes)
    bulk.update(
        model,
        ["id", "lease_token", "lease_expires_at", "next_reconcile_at", *names],
        [(r.claim.row.pk, None, None, r.next_at, *(r.changes[n] for n in names)) for r in kept],
    )
    return kept


def claim_due(
    model: type[Row], *, now: datetime, lease: timedelta, limit: int = 50
) -> list[Claim[Row]]:
    """Claim up to `limit` rows that are due, oldest first, skipping rows others hold."""
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=now)
    with transaction.atomic():
        due = list(
            model._default_manager.select_for_update(skip_locked=True, no_key=True)
            .filter(free, next_reconcile_at__lte=now)
            .order_by("next_reconcile_at", "pk")[:limit]
        )
        token = new_token()
        model._default_manager.filter(pk__in=[row.pk for row in due]).update(
            lease_token=token, lease_expires_at=now + lease
        )
    return [Claim(row, token) for row in due]


def claim_one(model: type[Row], pk: int, *, now: datetime, lease: timedelta) -> Claim[Row] | None:
    """Claim the row `pk` if it has work to do and nobody holds it, due or not.

    Returns None when the row is gone, idle (`next_reconcile_at` is null) or held.
    """
    token = new_token()
    taken = (
        model._default_manager.filter(pk=pk, next_reconcile_at__isnull=False)
        .filter(Q(lease_expires_at=None) | Q(lease_expires_at__lt=now))
        .update(lease_token=token, lease_expires_at=now + lease)
    )
    return Claim(model._default_manager.get(pk=pk), token) if taken else None


@contextmanager
def commanding(model: type[Row], pk: int, *, now: datetime) -> Iterator[Row]:
    """Lock one row for a person's command, taking it from any worker that holds it.

    The row is saved and made due at once when the block ends. A worker in the middle of
    a pass finds its lease gone and writes nothing, so the person always wins.
    """
    with transaction.atomic():
        row = model._default_manager.select_for_update(no_key=True).get(pk=pk)
        yield row
        row.lease_token, row.lease_expires_at, row.next_reconcile_at = None, None, now
        row.save()
