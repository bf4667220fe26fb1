"""Tell open pages that something changed, through PostgreSQL's LISTEN/NOTIFY.

The payload says what to look at again, never what it now is: the page fetches its own
partial, with its own access check. NOTIFY is transactional: listeners hear of a change
when, and only when, it is committed.
"""

import json

from django.db import connection

CHANNEL = "modelyard_live"


def announce(topic: str, *, hint: str = "") -> None:
    """Say that `topic` changed.

    Args:
        topic: What changed, as "kind/public-id" ("build/3f9k2m", "endpoint/...", "home").
        hint: Which part, when only one did ("log", "traffic").
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps({"topic": topic, "hint": hint})]
        )
