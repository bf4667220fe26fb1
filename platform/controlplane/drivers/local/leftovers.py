"""Processes that an earlier run of the stack left behind.

A process is ours only when its environment carries this home's instance tag, or when it is a
PostgreSQL that stands in this home's data folder (PostgreSQL overwrites its environment).
A number in a file is never enough: it may belong to a stranger by now. psutil remembers when
each process began and refuses to signal another one of the same number.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from controlplane.drivers.local import postgres

TAG = "MODELYARD_INSTANCE"


def find(instance: str, *, data: Path) -> list[psutil.Process]:
    """Return the processes of this instance, but not this one nor those that started it."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in spared and _is_ours(process, instance, data)
    ]


def end(
    processes: Iterable[psutil.Process], *, seconds: float, quiet_seconds: float = 0
) -> list[psutil.Process]:
    """End processes, kindly at first, and return those that had to be killed.

    Args:
        processes: What to end.
        seconds: How long each may take after it was asked to.
        quiet_seconds: How long to watch before anything is asked: they may be ending already.
    """
    remaining = list(processes)
    if quiet_seconds:
        _, remaining = psutil.wait_procs(remaining, timeout=quiet_seconds)
    for process in remaining:
        _quietly(process.terminate)
    _, remaining = psutil.wait_procs(remaining, timeout=seconds)
    for process in remaining:
        _quietly(process.kill)
    psutil.wait_procs(remaining, timeout=5)
    return remaining


def _is_ours(process: psutil.Process, instance: str, data: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(TAG) == instance:
            return True
    except (psutil.Error, OSError):
        return False
    return postgres.stands_in(process.pid, data)


def _quietly(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.NoSuchProcess:
        return
