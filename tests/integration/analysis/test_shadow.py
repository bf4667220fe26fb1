"""The loop of an analysis that compares the answers of a shadow."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.analysis import gathering, reconcile, selectors, services
from apps.analysis.comparator import Comparator
from apps.analysis.domain import comparison
from apps.analysis.domain.answers import Kept, Output
from apps.analysis.domain.values import Answer
from apps.analysis.models import AnalysisRun
from apps.analysis.reconcile import AnalysisReconciler
from controlplane.drivers.memory.answers import MemoryAnswers
from controlplane.kernel.actor import worker
from tests import factories
from workers import loop
from workers.loop import Kind

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
STABLE, CANARY = 20_100, 20_200  # ports
PLAN: dict[str, Any] = {
    "metrics": [
        {
            "name": "disagreement", "source": "disagreement",
            "tolerance": {"absolute": 0.02}, "margin": {"absolute": 0.02},
        }
    ]
}  # fmt: skip


class Died(BaseException):
    """The worker was killed."""


class Shadow:
    """A canary that answers what stable answers, and an analysis that compares them."""

    def __init__(self) -> None:
        self.now, self.asked = START, 0
        self.log = MemoryAnswers()
        self.comparator: Comparator | None = Comparator(self.log)
        self.kind = Kind(AnalysisRun, lambda: AnalysisReconciler(self.comparator))
        stable = factories.revision(observed_replicas=[replica(STABLE)])
        canary = factories.revision(
            endpoint=stable.endpoint, state="shifting", observed_replicas=[replica(CANARY)]
        )
        self.run_id = services.begin(
            actor=worker("rollouts"), subject="rollout/abc", stable=stable, candidate=canary,
            plan=PLAN, wakes=("rollout", 1), now=START,
        ).pk  # fmt: skip

    @property
    def run(self) -> AnalysisRun:
        return AnalysisRun.objects.get(pk=self.run_id)

    def answer(self, requests: int, *, otherwise: int = 0) -> None:
        """Have both answer `requests`, `otherwise` of them with another label."""
        for index in range(requests):
            self.asked += 1
            labels = {STABLE: 1, CANARY: 2 if index < otherwise else 1}
            for port, label in labels.items():
                self.log.keep(
                    Kept(
                        port=port, sequence=0, at=self.now.timestamp(),
                        request_id=f"r{self.asked}", body="b", status=200, milliseconds=1.0,
                        outputs=(Output("label", "INT64", (1,), (label,)),),
                    )
                )  # fmt: skip

    def look(self, *, after: float = 5) -> AnalysisRun:
        self.now += timedelta(seconds=after)
        loop.reconcile_one(self.kind, self.run_id, now=self.now)
        return self.run


def replica(port: int) -> dict[str, Any]:
    return {"index": 0, "port": port, "pid": 1, "state": "ready"}


def counted(run: AnalysisRun) -> tuple[float, float]:
    """Return how many were judged, and how many compared."""
    return run.findings[0]["canary_total"], comparison.from_json(run.comparison).pairs


def test_a_shadow_that_answers_alike_is_not_worse() -> None:
    shadow = Shadow()
    for _ in range(20):
        shadow.answer(40)
        run = shadow.look()
    assert (run.answer, run.state, counted(run)) == ("not_worse", "running", (800, 800))


def test_a_shadow_that_answers_otherwise_is_worse() -> None:
    shadow = Shadow()
    for _ in range(20):
        shadow.answer(40, otherwise=6)
        run = shadow.look()
    assert (run.answer, counted(run)) == (Answer.WORSE, (800, 800))
    assert "15.0 % of mirrored requests otherwise" in run.sentence


def test_no_mirrored_request_is_not_yet() -> None:
    shadow = Shadow()
    for _ in range(20):
        run = shadow.look()
    assert (run.answer, run.problem, counted(run)) == ("not_yet", "", (0, 0))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_may_die_and_no_answer_is_compared_twice(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow, deaths = Shadow(), 0
    whole = reconcile._write

    def dying(*given: Any) -> None:
        if moment == "after":
            whole(*given)
        raise Died

    for index in range(12):
        shadow.answer(10, otherwise=1)
        with monkeypatch.context() as patch:
            if index % 3 == 1:
                patch.setattr(reconcile, "_write", dying)
            try:
                shadow.look(after=50)
            except Died:
                deaths += 1
    assert (deaths, counted(shadow.look(after=50))) == (4, (120, 120))


def test_a_server_that_is_silent_for_a_moment_is_no_error_yet() -> None:
    shadow = Shadow()
    shadow.answer(10)
    shadow.look()
    shadow.log.down.add(CANARY)
    assert shadow.look().problem == ""
    run = shadow.look(after=gathering.PATIENCE.total_seconds())
    assert (run.state, run.problem) == ("errored", "The server at port 20200 did not answer.")
    shadow.log.down.clear()
    shadow.answer(10)
    run = shadow.look()
    assert (run.state, run.problem, counted(run)) == ("running", "", (20, 20))


def test_servers_that_keep_no_answers_are_an_error_that_says_so() -> None:
    shadow = Shadow()
    shadow.log.silent.add(CANARY)
    run = shadow.look()
    assert (run.state, run.problem_code) == ("errored", "analysis.no_answers")
    assert selectors.standing(run, shadow.now).answer is Answer.NOT_YET


def test_without_anybody_who_compares_it_is_an_error_and_no_answer() -> None:
    shadow = Shadow()
    shadow.comparator = None
    run = shadow.look()
    assert (run.state, run.problem_code) == ("errored", "analysis.no_comparator")
