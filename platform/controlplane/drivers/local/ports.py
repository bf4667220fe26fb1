"""TCP ports for the parts that need one; a taken port is named with its holder."""

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

TRIES = 200


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
    """Return the wanted port, or the next free one above it.

    Args:
        wanted: The port that would be best.
        host: The address it will be bound to.
        avoid: Ports that are promised to others.
    """
    taken = set(avoid)
    if wanted not in taken and is_free(wanted, host=host):
        return Choice(wanted, wanted)
    holder = "another part of this stack" if wanted in taken else holder_of(wanted)
    for port in range(wanted + 1, min(wanted + TRIES, 65536)):
        if port not in taken and is_free(port, host=host):
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


def holder_of(port: int) -> str:
    """Say who listens on a port, as far as this account may see."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            address = connection.laddr
            if listens and address and address.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    return "a process of another account"


def _any_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
