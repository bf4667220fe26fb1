"""Tell open pages that something changed, through PostgreSQL's LISTEN/NOTIFY.

The payload says what to look at again, never what it now is: the page fetches its own
partial, with its own access check. NOTIFY is transactional: listeners hear of a change
when, and only when, it is committed.
"""

import json
from collections.abc import Iterable

from django.db import connection

CHANNEL = "modelyard_live"


def announce(topic: str, *, hint: str = "") -> None:
    """Say that `topic` changed.

    Args:
        topic: What changed, as "kind/public-id" ("build/3f9k2m", "endpoint/...", "home").
        hint: Which part, when only one did ("log", "traffic").
    """
    announce_all([topic], hint=hint)


def announce_all(topics: Iterable[str], *, hint: str = "") -> None:
    """Say that each of `topics` changed, by one query."""
    said = [json.dumps({"topic": topic, "hint": hint}) for topic in topics]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, said) FROM unnest(%s::text[]) said", [CHANNEL, said])
