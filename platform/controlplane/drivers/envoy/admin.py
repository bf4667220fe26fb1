"""Envoy's own pages: statistics, what is in force, whether it is ready.

They listen on a Unix socket in the stack's folder: no other process can take its place, as it can
a port between being chosen and being bound, and nobody else on the machine can open it.
"""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx

SECONDS = 5.0


def address(path: Path) -> str:
    """Return how a setting spells the admin pages behind the socket at `path`."""
    return f"unix://{path}"


def client(admin: str, *, seconds: float = SECONDS) -> httpx.Client:
    """Return a client of the admin pages at `admin`: unix:///PATH, or http://HOST:PORT."""
    parts = urlsplit(admin)
    if parts.scheme != "unix":
        return httpx.Client(base_url=admin, timeout=seconds, trust_env=False)

    def refuse_when_nobody_listens(request: httpx.Request) -> None:
        # httpx itself would leave the socket open that could not be connected.
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
                tried.settimeout(seconds)
                tried.connect(parts.path)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error

    # HTTP wants a host; behind a socket any will do.
    return httpx.Client(
        event_hooks={"request": [refuse_when_nobody_listens]},
        base_url="http://envoy",
        transport=httpx.HTTPTransport(uds=parts.path),
        timeout=seconds,
        trust_env=False,
    )


def is_ready(admin: str) -> bool:
    """Return whether Envoy takes traffic."""
    try:
        with client(admin, seconds=2.0) as asked:
            return asked.get("/ready").is_success
    except httpx.HTTPError:
        return False
