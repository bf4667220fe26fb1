"""What the bench of releases does inside the database, in a process of its own with Django in it.

Called twice on one database: each call makes a house of its own size, and measures its pages.
"""

import json
import sys
import time
from statistics import quantiles
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from tests.web import releasing  # noqa: E402

ROUNDS = 40


def main(gates: int, comments: int, waiting: int) -> dict[str, Any]:
    """Return p50, p95 and queries of each page, full with so much."""
    settings.ALLOWED_HOSTS = ["*"]
    settings.BROKER_URL = "memory://"
    with transaction.atomic():
        house = releasing.scene(gates=gates)
        row = releasing.proposed(house)
        releasing.discussed(house, row, comments=comments)
        row = house.run(row, "awaiting_approval")
        house.approve(row, "reviewer")
        releasing.many(house, row, waiting)
        browser = Client()
        browser.force_login(house.people["operator"])
        return {
            "release": _measured(
                browser, f"/releases/{row.number}",
                f"release page with {gates} gates and {comments + 2} comments",
            ),
            "inbox": _measured(browser, "/inbox", f"inbox with {waiting + 1:,} open releases"),
            "list": _measured(
                browser, "/releases?tab=mine", f"list of {waiting + 1:,} open releases"
            ),
        }  # fmt: skip


def _measured(browser: Client, path: str, name: str) -> dict[str, Any]:
    for _ in range(5):
        assert browser.get(path).status_code == 200, path
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        browser.get(path)
        took.append((time.perf_counter() - began) * 1000)
    with CaptureQueriesContext(connection) as caught:
        browser.get(path)
    cuts = quantiles(took, n=20)
    return {"name": name, "p50_ms": cuts[9], "p95_ms": cuts[18], "queries": len(caught)}


if __name__ == "__main__":
    sizes = [int(argument) for argument in sys.argv[1:4]]
    try:
        with transaction.atomic():
            told = main(*sizes)
            print(json.dumps(told))
            transaction.set_rollback(True)  # the next size begins with an empty house
    finally:
        connection.close()
