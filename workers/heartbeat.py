"""Marks in the stack's folder that say who is alive, so that nobody has to be asked.

`beat.mark` is written when beat sends a sweep; `sweep.mark` when a worker's child has run one.
Each says which process it was: a mark of a process that is gone proves nothing.
"""

import os
from typing import Any

from celery.signals import after_task_publish, task_postrun
from django.conf import settings

SWEEP = "workers.sweep"


@after_task_publish.connect(weak=False, sender=SWEEP, dispatch_uid="workers.heartbeat.sent")
def sweep_was_sent(**_: Any) -> None:
    """Mark that this process, which is beat, sends sweeps."""
    _mark("beat.mark", os.getpid())


@task_postrun.connect(weak=False, dispatch_uid="workers.heartbeat.ran")
def sweep_was_run(sender: Any = None, **_: Any) -> None:
    """Mark that a child of this worker runs sweeps."""
    if getattr(sender, "name", "") == SWEEP:
        _mark("sweep.mark", os.getppid())


def _mark(name: str, pid: int) -> None:
    folder = settings.BLOB_ROOT.parent / "run"
    if folder.is_dir():
        (folder / name).write_text(str(pid))
