"""Rows written at once: new ones, known ones, and either."""

from datetime import UTC, datetime

import pytest

from apps.analysis import services
from apps.analysis.domain.looking import NOTHING_YET
from apps.analysis.domain.values import SourceKind
from apps.analysis.models import AnalysisRun, Look
from apps.monitoring.models import TrafficWindow
from controlplane.db import bulk
from controlplane.db.bulk import upsert
from controlplane.kernel.actor import worker
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


def test_new_rows_are_inserted_whatever_their_columns_hold() -> None:
    run = a_run()
    columns = ("run_id", "at", "metric", "step", "worse", "not_worse", "stable", "canary",
               "stable_total", "canary_total", "low", "high")  # fmt: skip
    rows = [
        (run.pk, NOON, SourceKind.ERRORS, 0, 1, 0.5, None, 0.25, 10, 20.0, None, None),
        (run.pk, NOON, "slow", 1, 2.5, 1, 0.5, 1, 1, 2, 0.0, 1.0),
    ]
    bulk.insert(Look, columns, rows)
    assert list(Look.objects.order_by("metric").values_list(*columns)) == rows


def test_columns_of_known_rows_are_written_each_by_its_key() -> None:
    first, second, other = a_run(), a_run(), a_run()
    bulk.update(
        AnalysisRun,
        ("id", "sentence", "evidence", "looked_at", "remaining_seconds", "findings"),
        [
            (first.pk, "It’s “full” {0} %s.", {"n": [1, 2.5, None]}, NOON, 7, [{"metric": "e"}]),
            (second.pk, "", None, None, None, []),
        ],
    )
    for row in (first, second, other):
        row.refresh_from_db()
    assert first.sentence == "It’s “full” {0} %s."
    assert (first.evidence, first.findings) == ({"n": [1, 2.5, None]}, [{"metric": "e"}])
    assert (first.looked_at, first.remaining_seconds) == (NOON, 7.0)
    assert (second.sentence, second.remaining_seconds) == ("", None)
    assert AnalysisRun.objects.filter(pk=second.pk, evidence__isnull=True).exists()
    assert other.sentence == NOTHING_YET, "whoever is not named stays as it is"


def a_run() -> AnalysisRun:
    candidate = factories.revision()
    return services.begin(
        actor=worker("rollouts"), subject=f"rollout/{candidate.public_id}", stable=None,
        candidate=candidate, plan={"metrics": []}, wakes=("rollout", 1), now=NOON,
    )  # fmt: skip
