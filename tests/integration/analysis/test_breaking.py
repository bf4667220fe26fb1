"""What an analysis does when something breaks: its plan, our own code, or the worker."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from apps.analysis import reconcile
from apps.analysis.domain import spec
from apps.analysis.domain.queries import Measured, Side
from apps.analysis.models import AnalysisRun, Asking, Look
from apps.analysis.reconcile import AnalysisReconciler
from controlplane.db.reconcile import claim_one
from tests.integration.analysis.house import LEASE, MEMORY, START, TEN, House, asked
from workers import loop

pytestmark = pytest.mark.django_db


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


def test_a_plan_that_cannot_be_read_is_an_error_that_says_so() -> None:
    house = House()
    AnalysisRun.objects.update(plan={"metrics": [{"name": "errors", "source": "stars"}]})
    run = house.look()
    assert (run.state, run.answer) == ("errored", "not_yet")
    assert "source is 'stars'" in run.problem


def test_a_fault_of_our_own_is_an_error_of_the_run_and_no_answer() -> None:
    house = House()
    house.goes_on(2)
    AnalysisRun.objects.update(evidence={"format": 0})
    for _ in range(loop.PATIENCE):
        house.look()
        house.now += timedelta(seconds=60)
    assert (house.run.state, house.run.problem_code) == ("errored", "worker.unexpected")


def test_a_worker_that_lost_its_lease_writes_nothing() -> None:
    house = House()
    house.ten_seconds(step=lambda: None)
    claim = claim_one(AnalysisRun, house.run.pk, now=house.now, lease=LEASE)
    assert claim is not None
    AnalysisRun.objects.update(lease_token=None)
    AnalysisReconciler()(claim, house.now)
    assert (house.run.state, house.run.evidence) == ("pending", None)
    assert not Look.objects.exists()


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_a_worker_may_die_at_any_moment_and_nothing_counts_twice(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(*spec.defaults(250), MEMORY)
    house.source.answers = {Side.STABLE: Measured(100.0), Side.CANARY: Measured(101.0)}
    deaths = 0
    for index in range(24):
        if index % 3 == 0:
            asked_at(house)
        house.ten_seconds(step=lambda: None)
        if index % 2:
            deaths += dies(house, moment, monkeypatch)
            house.now += LEASE  # nobody can take it before the lease ends
            house.look()
            house.now = START + (index + 1) * TEN
            AnalysisRun.objects.update(next_reconcile_at=house.now)
        else:
            house.look()
            house.now -= timedelta(seconds=3)
    house.look()
    assert deaths == 12
    assert house.counted("errors") == house.counted("slow") == (24 * 500, 24 * 50)
    assert house.counted("memory") == (8, 8)
    last = Look.objects.filter(metric="errors").order_by("-at")[0]
    assert (last.stable_total, last.canary_total) == (24 * 500, 24 * 50)


def asked_at(house: House) -> None:
    Asking.objects.update(next_reconcile_at=house.now)
    asked(house)


def dies(house: House, moment: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a pass whose worker dies before it records, while it does, or just after it did."""

    def death(*_: Any, **__: Any) -> None:
        raise Died

    whole = AnalysisReconciler.__call__

    def and_dies(self: AnalysisReconciler, claim: Any, now: datetime) -> None:
        whole(self, claim, now)
        raise Died

    with monkeypatch.context() as patch:
        match moment:
            case "before":
                patch.setattr(reconcile, "_write", death)
            case "within":
                patch.setattr(reconcile, "announce_all", death)
            case _:
                patch.setattr(AnalysisReconciler, "__call__", and_dies)
        try:
            house.look()
        except Died:
            return 1
    return 0
