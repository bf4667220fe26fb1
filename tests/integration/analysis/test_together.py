"""Many runs read at once see exactly what each would see alone."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.analysis import gathering
from apps.analysis.domain import spec
from tests.integration.analysis.house import House

pytestmark = pytest.mark.django_db


def test_what_is_read_for_all_is_what_each_would_read() -> None:
    houses = [House(number=number) for number in (1, 2, 3)]
    for house in houses:
        house.goes_on(4)
        house.ten_seconds(step=lambda: None)
    now = max(house.now for house in houses)
    metrics = spec.defaults(250)
    alone = [gathering.gather(house.run, metrics, None, now) for house in houses]
    runs = [house.run for house in houses]
    gathering.read_together(runs, now)
    with CaptureQueriesContext(connection) as asked:
        together = [gathering.gather(run, metrics, None, now) for run in runs]
    assert together == alone
    assert any(piece.canary.count for piece in together[0].slices["errors"])
    assert len(asked) == 0


def test_a_run_that_was_not_looked_at_for_long_reads_for_itself() -> None:
    house = House()
    house.goes_on(2)
    run = house.run
    gathering.read_together([run], house.now + 2 * gathering.NEAR)
    assert run.ahead is None
