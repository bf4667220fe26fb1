"""What an analysis comes to: proven worse, proven not worse, a hard limit, or not yet."""

from datetime import timedelta
from typing import Any

import pytest

from apps.analysis import services
from apps.analysis.domain.values import Answer
from apps.analysis.models import AnalysisRun
from apps.analysis.reconcile import AnalysisReconciler
from apps.audit.models import AuditEvent
from controlplane.db.reconcile import claim_one
from tests.integration.analysis.house import GOOD, LEASE, ROLLOUTS, House, verbs

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return what is nudged."""
    found: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "controlplane.db.nudge._send", lambda kind, pk, *_: found.append((kind, pk))
    )
    return found


def test_a_good_canary_is_proven_not_worse_and_its_rollout_is_woken(
    django_capture_on_commit_callbacks: Any, sent: list[tuple[str, int]]
) -> None:
    house = House()
    with django_capture_on_commit_callbacks(execute=True):
        run = house.until(Answer.NOT_WORSE, windows=200, stable=(5000, 5, 5), canary=(500, 0, 0))
    assert (run.state, run.problem, run.limit_hit) == ("running", "", "")
    assert house.standing.answer is Answer.NOT_WORSE
    assert ("rollout", 7) in sent
    assert verbs() == ["analysis.begin", "analysis.judge"]
    told = AuditEvent.objects.get(verb="analysis.judge")
    assert (told.after, told.reason) == ({"answer": "not_worse"}, run.sentence)


def test_a_canary_that_refuses_what_stable_takes_is_proven_worse() -> None:
    run = House().until(Answer.WORSE, windows=60, stable=(500, 1, 0, 5), canary=(50, 0, 0, 12))
    assert run.sentence.startswith("The canary refuses more requests")


def test_refusals_that_both_sides_share_are_nobodys_fault() -> None:
    run = House().goes_on(40, stable=(500, 1, 0, 200), canary=(50, 0, 0, 20))
    assert run.answer != Answer.WORSE


def test_a_bad_canary_is_proven_worse() -> None:
    house = House()
    house.goes_on(3)
    run = house.until(Answer.WORSE, windows=60, canary=(50, 4))
    assert "fails more often" in run.sentence
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    assert house.run.state == "failing"
    assert verbs()[-2:] == ["analysis.judge", "analysis.fail"]


def test_a_slow_canary_is_proven_worse() -> None:
    house = House()
    house.goes_on(3)
    run = house.until(Answer.WORSE, windows=60, canary=(50, 0, 25))
    assert "slower" in run.sentence


def test_what_is_proven_stays_proven_while_the_canary_gets_nothing() -> None:
    house = House()
    house.until(Answer.WORSE, windows=60, canary=(50, 8))
    assert house.goes_on(12, canary=None).answer == Answer.WORSE


# --- steps --------------------------------------------------------------------------------------


def test_a_new_step_is_proven_by_what_came_in_it() -> None:
    house = House()
    house.until(Answer.NOT_WORSE, windows=200, **GOOD)
    house.now += timedelta(seconds=4)
    services.step(actor=ROLLOUTS, subject=house.subject, index=1, now=house.now)
    assert house.standing.answer is Answer.NOT_YET
    house.look()
    assert (house.standing.answer, house.run.judged_step) == (Answer.NOT_YET, 0)
    house.now = house.run.step_at - timedelta(seconds=4)
    house.ten_seconds(**GOOD)
    house.ten_seconds(**GOOD)
    assert (house.run.answer, house.run.judged_step) == ("not_yet", 1)
    house.until(Answer.NOT_WORSE, windows=200, **GOOD)


def test_a_step_that_begins_during_a_pass_is_not_lost() -> None:
    house = House()
    house.goes_on(2)
    claim = claim_one(AnalysisRun, house.run.pk, now=house.now, lease=LEASE)
    assert claim is not None
    services.step(actor=ROLLOUTS, subject=house.subject, index=1, now=house.now)
    AnalysisReconciler()(claim, house.now)
    assert (house.run.step, house.run.judged_step, house.run.answer) == (1, 0, "not_yet")
    house.goes_on(2)
    assert (house.run.judged_step, house.counted()) == (1, (2000, 200))


# --- hard limits --------------------------------------------------------------------------------


def test_a_hard_limit_is_hit_before_the_window_is_over() -> None:
    house = House()
    house.goes_on(3)
    house.window("stable", 500, 1)
    house.window("canary", 90, 80)
    run = house.look()
    assert "failed 80 of 240 requests" in run.limit_hit
    assert house.standing.limit_hit == run.limit_hit
    assert verbs()[-1] == "analysis.limit"


def test_a_hard_limit_stays_hit_when_the_canary_gets_nothing_any_more() -> None:
    house = House()
    house.goes_on(1, canary=(50, 40))
    assert house.run.limit_hit
    house.goes_on(12, canary=None)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    assert (house.run.state, verbs().count("analysis.limit")) == ("failing", 1)


def test_what_hits_both_sides_is_no_fault_of_the_canary() -> None:
    house = House()
    run = house.goes_on(6, stable=(500, 400), canary=(50, 40))
    assert (run.limit_hit, run.answer) == ("", "not_worse")
