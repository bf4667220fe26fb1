"""The ledger's passes: seal every second, and every minute checkpoint, export, check and drop."""

from datetime import datetime
from pathlib import Path

from celery import shared_task
from django.conf import settings

from apps.audit import checking, checkpoints, keys, sealing, segments
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
    4. Read the next part of the chain over again.
    5. Drop what is too old, if it is proven and carried out.
    """
    folder, signer = Path(settings.LEDGER_FOLDER), keys.signer()
    if now.minute % THOROUGH == 0:
        sealing.seal_overlooked()
    checkpoints.checkpoint(signer=signer, now=now)
    checkpoints.write_out(folder, signer)
    segments.write_due(folder, signer=signer, now=now)
    checked = checking.check(folder, now=now)
    if settings.AUDIT_DAYS is not None and checked.broken_at is None:
        segments.drop_expired(folder, days=settings.AUDIT_DAYS, now=now)
