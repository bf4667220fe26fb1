"""Which process holds a lease, as its token says.

A token names the machine, the process and the moment it began, and ends in chance. So whoever
runs on the same machine can tell that a holder is dead, and free what it held at once, instead
of waiting until the lease ends. Elsewhere it can tell nothing, and the lease ends by itself.

    4 bytes machine | 4 bytes process id | 4 bytes its beginning | 4 bytes chance
"""

import os
import secrets
import socket
import struct
import uuid
import zlib
from functools import lru_cache
from pathlib import Path

import psutil

LAYOUT = struct.Struct(">IIII")


def new_token() -> uuid.UUID:
    """Return a token of this process, never given before."""
    pid = os.getpid()
    began = _began_now(pid)
    return uuid.UUID(bytes=LAYOUT.pack(_machine(), pid, began, secrets.randbits(32)))


def is_dead(token: uuid.UUID) -> bool:
    """Return whether the process that made `token` certainly runs no more."""
    machine, pid, began, _ = LAYOUT.unpack(token.bytes)
    return bool(machine == _machine()) and _began(pid) != began


@lru_cache(maxsize=4)  # by process: what a fork inherits is its parent's
def _began_now(pid: int) -> int:
    return _began(pid)


def _began(pid: int) -> int:
    """Return when a living process began, in 32 bits; 0 when there is none."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return 0
        return zlib.crc32(repr(process.create_time()).encode()) or 1
    except psutil.NoSuchProcess:
        return 0


@lru_cache(maxsize=1)
def _machine() -> int:
    """Return this machine, or this container of it: process ids mean something only within."""
    told = [socket.gethostname()]
    for read in (_boot, _namespace):
        try:
            told.append(read())
        except OSError:  # not Linux
            told.append("")
    return zlib.crc32("\n".join(told).encode())


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")
