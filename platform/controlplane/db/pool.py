"""Connections that the requests of a web process share.

Under ASGI every request runs in a thread of its own, and Django's persistent connections
belong to threads: without a pool each request opens a new connection or two, and each costs a
process on the server. Workers keep one connection per process and need none of this; they
also fork, which a pool does not survive.
"""

from typing import Any

from django.db import connections

MOST = 16  # per web process
PATIENCE_SECONDS = 10.0  # for a free connection; then the database counts as unavailable


def share_connections(alias: str = "default") -> None:
    """Have this process take its connections from a pool; call it before the first query."""
    database: dict[str, Any] = connections.databases[alias]
    # A connection goes back to the pool at the end of each request, not after some age.
    database["CONN_MAX_AGE"] = 0
    database["OPTIONS"] = {
        **database["OPTIONS"],
        "pool": {"min_size": 2, "max_size": MOST, "timeout": PATIENCE_SECONDS},
    }
