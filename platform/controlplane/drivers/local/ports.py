"""TCP ports for the parts that need one; a taken port is named with its holder."""

import contextlib
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

TRIES = 200
PROMISES = Path(tempfile.gettempdir()) / "modelyard-ports"  # of every account on this machine
_held: dict[int, int] = {}  # by port, the descriptor of our lock on it


@dataclass(frozen=True)
class Choice:
    """A port, and why it is not the one that was asked for.

    Attributes:
        port: The port to use.
        wanted: The port that was asked for.
        holder: Who has the wanted port ("nginx, process 812"); "" when it was free.
    """

    port: int
    wanted: int
    holder: str = ""


def choose(wanted: int, *, host: str = "127.0.0.1", avoid: Iterable[int] = ()) -> Choice:
    """Return the wanted port, or the next free one above it, and hold it until we end.

    Nobody listens on a port while its server starts, or starts again after it was killed: a
    stack that begins in these seconds sees that the port is held, and takes another one.

    Args:
        wanted: The port that would be best.
        host: The address it will be bound to.
        avoid: Ports that are promised to others.
    """
    taken = set(avoid)
    if wanted not in taken and is_free(wanted, host=host) and hold(wanted):
        return Choice(wanted, wanted)
    holder = "another part of this stack" if wanted in taken else holder_of(wanted)
    for port in range(wanted + 1, min(wanted + TRIES, 65536)):
        if port not in taken and is_free(port, host=host) and hold(port):
            return Choice(port, wanted, holder)
    return Choice(_any_port(host), wanted, holder)


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Return whether the port can be bound now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # A server that has just ended leaves connections in TIME_WAIT; they do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def hold(port: int) -> bool:
    """Promise a port to this process, and return whether no other process holds it.

    The kernel gives it up when the process ends, however it ends. A folder that cannot be
    written is in nobody's way: then only who listens counts.
    """
    if port in _held:
        return True
    path = PROMISES / str(port)
    try:
        with contextlib.suppress(FileExistsError):
            PROMISES.mkdir()
            PROMISES.chmod(0o1777)
        # Linux lets nobody create a file over another account's one, but may lock it.
        flags = os.O_RDONLY if path.exists() else os.O_RDONLY | os.O_CREAT
        descriptor = os.open(path, flags, 0o644)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _held[port] = descriptor
    return True


def holder_of(port: int) -> str:
    """Say who listens on a port, as far as this account may see, or that it is promised."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            address = connection.laddr
            if listens and address and address.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    return "another stack that starts" if is_free(port) else "a process of another account"


def _any_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
