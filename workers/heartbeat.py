"""A mark in the stack's folder that says: beat sent a sweep, and a worker ran it.

One file tells that beat, the broker and a worker are all alive, without asking any of them.
"""

import os
from typing import Any

from celery.signals import task_postrun
from django.conf import settings


@task_postrun.connect(weak=False, dispatch_uid="workers.heartbeat")
def mark(sender: Any = None, **_: Any) -> None:
    """Write after every sweep whose child ran it; the worker's main process is its name."""
    folder = settings.BLOB_ROOT.parent / "run"
    if getattr(sender, "name", "") == "workers.sweep" and folder.is_dir():
        (folder / "sweep.mark").write_text(str(os.getppid()))
