"""The composition root: the one place where a port meets its driver."""

from datetime import datetime

from workers.loop import Kind

KINDS: dict[str, Kind] = {}


def measure(now: datetime) -> None:
    """Read the proxies' statistics into windows."""


def discover(now: datetime) -> None:
    """Find versions that reached MLflow behind our back."""


def tidy(now: datetime) -> None:
    """Drop what has expired."""
