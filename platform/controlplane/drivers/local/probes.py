"""Whether a part does its work, asked from outside; each probe answers within two seconds."""

import socket
import time
from pathlib import Path

import httpx

SECONDS = 2.0


def answers(url: str) -> bool:
    """Return whether an HTTP address answers with success."""
    try:
        return httpx.get(url, timeout=SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def pongs(path: Path) -> bool:
    """Return whether the Valkey behind a Unix socket answers a ping."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(SECONDS)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def touched(mark: Path, *, within: float) -> bool:
    """Return whether a file was written within so many seconds."""
    try:
        return time.time() - mark.stat().st_mtime < within
    except OSError:
        return False


def said(mark: Path) -> str:
    """Return what a file says; "" when there is none."""
    try:
        return mark.read_text().strip()
    except OSError:
        return ""
