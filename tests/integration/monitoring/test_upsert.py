"""Rows written at once, new or not."""

from datetime import UTC, datetime

import pytest

from apps.monitoring.models import TrafficWindow
from controlplane.db.upsert import upsert
from tests import factories

pytestmark = pytest.mark.django_db
COLUMNS = (
    "revision_id",
    "starts_at",
    "seconds",
    "requests",
    "errors_4xx",
    "errors_5xx",
    "latency",
)
KEY = ("revision_id", "starts_at")
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_new_rows_are_written_and_known_ones_written_over() -> None:
    first, second = factories.revision(), factories.revision()
    upsert(TrafficWindow, COLUMNS, [(first.pk, NOON, 10, 5, 0, 1, [1, 2])], unique=KEY)
    upsert(
        TrafficWindow,
        COLUMNS,
        [(first.pk, NOON, 12, 7, 1, 2, [3, 4]), (second.pk, NOON, 10, 1, 0, 0, [])],
        unique=KEY,
    )
    kept = TrafficWindow.objects.order_by("revision").values_list(*COLUMNS)
    assert list(kept) == [
        (first.pk, NOON, 12, 7, 1, 2, [3, 4]),
        (second.pk, NOON, 10, 1, 0, 0, []),
    ]


def test_nothing_is_written_by_no_query(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        upsert(TrafficWindow, COLUMNS, [], unique=KEY)
