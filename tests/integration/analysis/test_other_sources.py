"""What other sources than the proxy say: they are asked, or callers tell."""

from datetime import timedelta

import pytest
from django.db import connection

from apps.analysis import asking, services
from apps.analysis.asking import AskingReconciler
from apps.analysis.domain import spec
from apps.analysis.domain.queries import Measured, Query, Side
from apps.analysis.domain.values import Allowance, Answer, Better, Metric, MetricKind, SourceKind
from apps.analysis.models import Asking, Measurement
from apps.monitoring.models import FeedbackWindow
from controlplane.db.reconcile import claim_one
from controlplane.kernel.errors import ControlPlaneError, Permanent, Transient
from tests.integration.analysis.house import (
    GOOD,
    LEASE,
    MEMORY,
    ROLLOUTS,
    START,
    TEN,
    House,
    asked,
    verbs,
)

pytestmark = pytest.mark.django_db


def test_another_source_is_asked_of_both_sides_and_its_numbers_count() -> None:
    house = House(MEMORY)
    house.source.answers = {Side.STABLE: Measured(100.0), Side.CANARY: Measured(250.0)}
    for index in range(30):
        house.now = START + index * asking.EVERY
        house.source.answers[Side.CANARY] = Measured(250.0 + index % 3)
        house.source.answers[Side.STABLE] = Measured(100.0 + index % 2)
        assert asked(house).next_reconcile_at == house.now + asking.EVERY
        house.look()
    assert sorted(house.source.asked[:2]) == ["rss{{1}}", "rss{{2}}"]
    assert house.counted("memory") == (30, 30)
    assert (house.run.answer, Measurement.objects.count()) == ("worse", 30)


def test_no_data_of_another_source_is_not_yet() -> None:
    house = House(MEMORY)
    row = asked(house)
    house.look()
    assert (row.problem, house.run.state, house.run.answer) == ("", "running", "not_yet")
    assert house.counted("memory") == (0, 0)


@pytest.mark.parametrize("error", [Transient("Silence."), Permanent("Two series.")])
def test_a_source_that_cannot_be_asked_is_an_error_that_keeps_the_evidence(
    error: ControlPlaneError,
) -> None:
    house = House(*spec.defaults(), MEMORY)
    house.goes_on(3)
    house.source.problem = error
    row = asked(house)
    assert row.next_reconcile_at == house.now + asking.FIRST_PAUSE
    run = house.goes_on(3)
    assert (run.state, run.problem, run.answer) == ("errored", error.sentence, "not_yet")
    assert house.counted() == (3000, 300)
    house.source.problem = None
    house.now += timedelta(minutes=2)
    asked(house)
    run = house.look()
    assert (run.state, run.problem) == ("running", "")
    assert verbs()[-2:] == ["analysis.fault", "analysis.recover"]


def test_a_source_that_is_silent_for_a_moment_is_no_error_yet() -> None:
    house = House(MEMORY)
    asked(house)
    house.now += asking.EVERY
    house.source.problem = Transient("Silence.")
    assert asked(house).problem == "Silence."
    house.now += timedelta(seconds=5)
    assert (house.look().state, house.run.problem) == ("running", "")
    house.now += timedelta(seconds=5)
    assert (house.look().state, house.run.problem) == ("errored", "Silence.")


def test_a_source_is_asked_later_each_time_and_at_least_every_minute() -> None:
    house = House(MEMORY)
    house.source.problem = Transient("Silence.")
    pauses = []
    for _ in range(7):
        row = asked(house)
        assert row.next_reconcile_at is not None
        pauses.append((row.next_reconcile_at - house.now).total_seconds())
        house.now = row.next_reconcile_at
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_an_error_does_not_hide_that_the_canary_is_worse() -> None:
    house = House(*spec.defaults(), MEMORY)
    house.source.problem = Transient("Silence.")
    asked(house)
    house.goes_on(5, canary=(50, 1))
    house.until(Answer.WORSE, windows=60, canary=(50, 8))
    assert (house.run.state, house.standing.answer) == ("errored", Answer.WORSE)
    assert house.standing.problem == "Silence."


def test_what_was_not_worse_is_not_said_while_a_source_is_silent() -> None:
    metric = Metric(**{**MEMORY.__dict__, "required": False})
    house = House(*spec.defaults(), metric)
    house.goes_on(6, **GOOD)
    assert house.run.answer == Answer.NOT_WORSE
    house.source.problem = Transient("Silence.")
    asked(house)
    house.look()
    assert (house.standing.answer, house.standing.sentence) == (Answer.NOT_YET, "Silence.")
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    assert house.run.state == "inconclusive"


@pytest.mark.parametrize(
    ("measured", "code"),
    [
        (Measured(0.1), "analysis.share_without_count"),
        (Measured(1.5, 20), "analysis.no_share"),
        (Measured(-0.1, 20), "analysis.no_share"),
    ],
)
def test_a_share_must_be_one_and_say_of_how_many(measured: Measured, code: str) -> None:
    metric = Metric(**{**MEMORY.__dict__, "kind": MetricKind.RATE})
    house = House(metric)
    house.source.answers = {Side.STABLE: Measured(0.1, 100), Side.CANARY: measured}
    assert asked(house).problem_code == code
    house.source.answers[Side.CANARY] = Measured(0.2, 10)
    house.now += timedelta(minutes=1)
    assert asked(house).problem == ""
    house.look()
    assert house.counted("memory") == (100, 10)


def test_a_source_that_is_not_set_up_says_so() -> None:
    metric = Metric(**{**MEMORY.__dict__, "source": SourceKind.JOB})
    house = House(metric)
    assert asked(house).problem == "Nobody can be asked for job metrics here."


def test_nobody_is_asked_any_more_once_the_run_has_ended() -> None:
    house = House(MEMORY)
    services.end(actor=ROLLOUTS, subject=house.subject, now=house.now)
    row = asked(house)
    assert (row.next_reconcile_at, house.source.asked) == (None, [])


@pytest.mark.django_db(transaction=True)
def test_nobody_is_asked_while_a_transaction_is_open() -> None:
    house = House(MEMORY)
    opened = []
    house.source.hook = lambda query: opened.append(connection.in_atomic_block)
    claim = claim_one(Asking, Asking.objects.get().pk, now=house.now, lease=LEASE)
    assert claim is not None
    AskingReconciler({SourceKind.PROMETHEUS: house.source})(claim, house.now)
    assert opened == [False, False]


def test_a_query_is_asked_as_of_the_same_moment_for_both_sides() -> None:
    house = House(MEMORY)
    seen: list[Query] = []
    house.source.hook = seen.append
    asked(house)
    assert [q.at for q in seen] == [house.now, house.now]
    assert {q.target.side: q.target.revision for q in seen} == {Side.STABLE: 1, Side.CANARY: 2}


# --- feedback -----------------------------------------------------------------------------------


def test_what_callers_tell_is_compared_once_it_is_whole() -> None:
    metric = Metric(
        "clicked", "Clicked", MetricKind.RATE, SourceKind.FEEDBACK, better=Better.HIGHER,
        tolerance=Allowance(0.01), margin=Allowance(0.05),
    )  # fmt: skip
    house = House(metric)
    for _ in range(4):
        for side, clicks in (("stable", 30), ("canary", 4)):
            for segment in ("", "eu"):
                FeedbackWindow.objects.create(
                    revision=getattr(house, side), metric="clicked", segment=segment,
                    starts_at=house.now, count=50, total=clicks, squares=clicks,
                )  # fmt: skip
        house.now += TEN
    house.look()
    counted = house.counted("clicked")
    assert 0 < counted[0] < 400
    house.now += timedelta(seconds=60)
    house.look()
    house.look()
    assert (house.counted("clicked"), house.run.answer) == ((400, 400), "worse")
