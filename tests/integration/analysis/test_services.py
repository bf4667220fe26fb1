"""What a rollout does with an analysis."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.analysis import selectors, services
from apps.analysis.domain.looking import NEW_STEP
from apps.analysis.domain.states import AnalysisState
from apps.analysis.domain.values import Answer, Metric, MetricKind, SourceKind
from apps.analysis.models import AnalysisRun, Look
from apps.audit.models import AuditEvent
from controlplane.db.reconcile import claim_one
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import Missing
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 28, 12, 0, 3, tzinfo=UTC)
ACTOR = worker("rollouts")
SUBJECT = "rollout/abc"
PLAN: dict[str, Any] = {"metrics": [], "alpha": 0.05, "limits": {}}


def begun(*, subject: str = SUBJECT, at: datetime = NOW) -> AnalysisRun:
    stable = factories.revision()
    candidate = factories.revision(endpoint=stable.endpoint, state="shifting")
    return services.begin(
        actor=ACTOR, subject=subject, stable=stable, candidate=candidate, plan=PLAN,
        wakes=("rollout", 7), now=at,
    )  # fmt: skip


def again(run: AnalysisRun) -> AnalysisRun:
    return services.begin(
        actor=ACTOR, subject=run.subject, stable=run.stable, candidate=run.candidate, plan={},
        wakes=("rollout", 8), now=NOW + timedelta(hours=1),
    )  # fmt: skip


def changed(run: AnalysisRun, **columns: Any) -> None:
    AnalysisRun.objects.filter(pk=run.pk).update(**columns)


def verbs() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))


def test_a_run_begins_once() -> None:
    run = begun()
    assert (again(run).pk, AnalysisRun.objects.count()) == (run.pk, 1)
    found = selectors.of(SUBJECT)
    assert found is not None
    assert (found.plan, found.wakes_id, found.started_at) == (PLAN, 7, NOW)
    assert (found.state, found.answer, found.next_reconcile_at) == ("pending", "not_yet", NOW)
    assert verbs() == ["analysis.begin"]


def test_nobody_has_looked_for_a_minute_says_a_run_that_no_worker_takes_up() -> None:
    run = begun()
    assert not selectors.standing(run, NOW + timedelta(seconds=59)).problem
    assert selectors.standing(run, NOW + timedelta(seconds=61)).stale


def test_a_new_step_has_to_be_proven_anew() -> None:
    run = begun()
    changed(run, answer=Answer.NOT_WORSE, remaining_seconds=4, state=AnalysisState.RUNNING)
    later = NOW + timedelta(minutes=5)
    services.step(actor=ACTOR, subject=SUBJECT, index=1, now=later)
    run.refresh_from_db()
    assert (run.answer, run.sentence) == (Answer.NOT_YET, NEW_STEP)
    assert (run.step, run.step_at, run.judged_step) == (1, later, 0)


def test_being_told_of_a_step_twice_changes_nothing() -> None:
    run = begun()
    for minutes in (5, 6):
        at = NOW + timedelta(minutes=minutes)
        services.step(actor=ACTOR, subject=SUBJECT, index=2, now=at)
    services.step(actor=ACTOR, subject=SUBJECT, index=1, now=NOW + timedelta(minutes=7))
    run.refresh_from_db()
    assert (run.step, run.step_at) == (2, NOW + timedelta(minutes=5))
    assert verbs() == ["analysis.begin", "analysis.step"]


def test_what_was_proven_worse_stays_so_in_a_new_step() -> None:
    run = begun()
    changed(run, answer=Answer.WORSE, sentence="Five times the errors.")
    services.step(actor=ACTOR, subject=SUBJECT, index=1, now=NOW)
    run.refresh_from_db()
    assert (run.answer, run.sentence) == (Answer.WORSE, "Five times the errors.")


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({"state": "running", "answer": "not_worse"}, "passing"),
        ({"state": "running", "answer": "worse"}, "failing"),
        ({"state": "running", "answer": "not_worse", "limit_hit": "Beyond."}, "failing"),
        ({"state": "running"}, "inconclusive"),
        ({"state": "errored", "answer": "not_worse"}, "inconclusive"),
        ({}, "inconclusive"),
    ],
)
def test_a_run_ends_by_its_answer_once(columns: dict[str, str], state: str) -> None:
    run = begun()
    changed(run, **columns)
    for minutes in (5, 6):
        at = NOW + timedelta(minutes=minutes)
        services.end(actor=ACTOR, subject=SUBJECT, now=at)
    changed(run, answer=Answer.WORSE)
    run.refresh_from_db()
    assert (run.state, run.ended_at) == (state, NOW + timedelta(minutes=5))
    assert len(verbs()) == 2


def test_a_step_takes_the_row_from_a_worker_in_the_middle_of_a_pass() -> None:
    run = begun()
    claim = claim_one(AnalysisRun, run.pk, now=NOW, lease=timedelta(seconds=45))
    assert claim is not None
    services.step(actor=ACTOR, subject=SUBJECT, index=1, now=NOW + timedelta(seconds=1))
    assert not claim.record(next_at=None, answer=Answer.NOT_WORSE)
    run.refresh_from_db()
    assert run.answer == Answer.NOT_YET


def test_what_never_began_has_no_steps_and_no_end() -> None:
    with pytest.raises(Missing, match="There is no analysis of rollout/none"):
        services.step(actor=ACTOR, subject="rollout/none", index=1, now=NOW)
    with pytest.raises(Missing, match="There is no analysis of rollout/none"):
        services.end(actor=ACTOR, subject="rollout/none", now=NOW)


def test_many_looks_are_thinned_evenly_and_the_newest_is_kept() -> None:
    run = begun()
    Look.objects.bulk_create(
        Look(
            run=run, at=NOW + timedelta(seconds=10 * i), metric="errors", worse=1, not_worse=1,
            stable_total=i, canary_total=i,
        )
        for i in range(1201)
    )  # fmt: skip
    shown = [look.stable_total for look in selectors.looks(run, "errors")]
    assert shown == list(range(0, 1201, 3))
    assert [look.stable_total for look in selectors.looks(run, "errors", most=2)] == [599, 1200]
    assert selectors.looks(run, "slow") == []


def test_nothing_is_known_of_an_endpoint_without_earlier_runs() -> None:
    run = begun()
    metric = Metric("errors", "Errors", MetricKind.RATE, SourceKind.ERRORS)
    pool = selectors.calibration_slices(run.candidate.endpoint_id, metric)
    assert (pool.slices, pool.sentence) == ((), "")
