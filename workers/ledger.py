"""The ledger's passes: seal every second, and every minute checkpoint, export, check and drop."""

from datetime import datetime
from pathlib import Path

from celery import shared_task
from django.conf import settings
from django.db import transaction

from apps.accounts import selectors as accounts
from apps.audit import checking, checkpoints, keys, sealing, segments
from apps.audit.models import SelfCheck
from apps.notifications import services as notifications
from controlplane.kernel.actor import Grant, Role
from controlplane.kernel.clock import SystemClock

CLOCK = SystemClock()
THOROUGH = 5  # minutes between two looks at every event


@shared_task(name="workers.seal")
def seal() -> None:
    """Give new events their places in the chain."""
    sealing.seal()


@shared_task(name="workers.keep_ledger")
def keep_ledger() -> None:
    """Prove what is sealed, carry it out, and read a part of it over again."""
    keep(CLOCK.now())


def keep(now: datetime) -> None:
    """Run one pass.

    1. Look everywhere for events that no sealing pass saw.
    2. Sign the end of the chain, and write it to the folder.
    3. Write the segment that is due.
    4. Read the next part of the chain over again, and tell the admins if it does not hold.
    5. Drop what is too old, if it is proven and carried out.
    """
    folder, signer = Path(settings.LEDGER_FOLDER), keys.signer()
    if now.minute % THOROUGH == 0:
        sealing.seal_overlooked()
    checkpoints.checkpoint(signer=signer, now=now)
    checkpoints.write_out(folder, signer)
    segments.write_due(folder, signer=signer, now=now)
    checked = checking.check(folder, now=now)
    if checked.broken_at is not None:
        _tell(checked)
    elif settings.AUDIT_DAYS is not None:
        segments.drop_expired(folder, days=settings.AUDIT_DAYS, now=now)


@transaction.atomic
def _tell(checked: SelfCheck) -> None:
    """Tell every admin of the whole house, once for each break."""
    everywhere = Grant(Role.ADMIN)
    admins = [who.pk for who in accounts.holders([Role.ADMIN]) if everywhere in who.grants]
    notifications.notify(
        kind="ledger.broken",
        title=f"The ledger was changed at #{checked.broken_at:,}",
        body=checked.problem,
        link="/audit",
        people=admins,
        dedupe=f"ledger/{checked.broken_at}/{checked.broken_since}",
        urgent=True,
    )
