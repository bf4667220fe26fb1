"""What callers tell, from the service to what a worker reads."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.endpoints.models import Revision
from apps.monitoring import reconcile, selectors, services
from apps.monitoring.domain import feedback, windows
from apps.monitoring.domain.feedback import Outcome
from apps.monitoring.models import FeedbackSeen, FeedbackSender, FeedbackWindow, LastReading
from apps.monitoring.services import FeedbackTaken
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Denied, Invalid, Missing, Transient
from controlplane.kernel.quantities import Tally
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, 3, tzinfo=UTC)
FLOOR = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
FAR = FLOOR + timedelta(days=1)
CALLER = factories.actor_with(Role.CONTRIBUTOR, name="shop")


@pytest.fixture
def revision() -> Revision:
    return factories.revision()


def click(request: object, value: float = 1.0, **more: Any) -> Outcome:
    return Outcome(**{"request_id": f"r-{request}", "revision": 1, "metric": "clicked",
                      "value": value, **more})  # fmt: skip


def tell(revision: Revision, *items: Outcome, at: datetime = NOW) -> FeedbackTaken:
    return services.record_feedback(
        actor=CALLER, endpoint=revision.endpoint.public_id, items=items, now=at
    )


def told(
    *revisions: Revision, after: datetime = FLOOR, until: datetime = FAR, metric: str = "clicked"
) -> Sequence[selectors.FeedbackSlice]:
    pks = [revision.pk for revision in revisions]
    return selectors.feedback_windows(pks, metric, after=after, until=until)


def test_outcomes_are_summed_by_arrival_revision_and_segment(revision: Revision) -> None:
    other = factories.revision(endpoint=revision.endpoint, state="retired")
    long_ago = NOW - timedelta(days=20)
    taken = tell(
        revision, click(1), click(2, 0), click(3, revision=2), click(4, segment="eu", at=long_ago)
    )
    assert taken == FeedbackTaken(taken=4, repeated=0, unknown=0)
    tell(revision, click(5), at=NOW + timedelta(seconds=4))  # the same window: it grows
    tell(revision, click(6), at=NOW + timedelta(seconds=7))  # the next one
    assert told(revision, other) == [
        (revision.pk, FLOOR, "", Tally(3, 2, 2)),
        (revision.pk, FLOOR, "eu", Tally(1, 1, 1)),
        (other.pk, FLOOR, "", Tally(1, 1, 1)),
        (revision.pk, FLOOR + timedelta(seconds=10), "", Tally(1, 1, 1)),
    ]
    assert told(revision, metric="bought") == []


def test_the_same_outcome_counts_once_within_a_call_and_over_calls(revision: Revision) -> None:
    assert tell(revision, click(1), click(1, 0)) == FeedbackTaken(1, 1, 0)
    assert tell(revision, click(1), click(2)) == FeedbackTaken(1, 1, 0)
    assert tell(revision, click(1, metric="bought")) == FeedbackTaken(1, 0, 0)
    assert [slice.tally for slice in told(revision)] == [Tally(2, 2, 2)]


def test_another_endpoints_requests_are_others(revision: Revision) -> None:
    other = factories.revision()
    assert tell(revision, click(1)).taken == tell(other, click(1)).taken == 1


def test_an_outcome_of_no_revision_is_not_counted_and_can_be_mended(revision: Revision) -> None:
    wrong = tell(revision, click(1), click(2, revision=7), click(3, revision=9))
    assert wrong == FeedbackTaken(1, 0, 2, unknown_revisions=(7, 9))
    assert tell(revision, click(2), click(3)) == FeedbackTaken(2, 0, 0)


def test_nothing_is_counted_when_one_is_wrong(revision: Revision) -> None:
    with pytest.raises(Invalid):
        tell(revision, click(1), click(2, float("nan")))
    assert not FeedbackSeen.objects.exists()


def test_whoever_may_not_is_refused(revision: Revision) -> None:
    viewer = factories.actor_with(Role.VIEWER)
    how = {"endpoint": revision.endpoint.public_id, "items": [click(1)], "now": NOW}
    with pytest.raises(Denied):
        services.record_feedback(actor=viewer, **how)
    with pytest.raises(Missing):
        services.record_feedback(actor=CALLER, **{**how, "endpoint": "nope"})


def test_a_thousand_cost_no_more_statements_than_one(revision: Revision) -> None:
    tell(revision, click("first"))

    def statements(*items: Outcome) -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            tell(revision, *items)
        return len(seen)

    one = statements(click("one"))
    many = [click(f"many-{n}", segment=f"s{n % 50}", metric=f"m{n % 7}") for n in range(1000)]
    assert statements(*many) == one
    assert one <= 9
    assert FeedbackSeen.objects.count() == 1002


def test_the_ledger_says_once_a_day_who_tells(revision: Revision) -> None:
    for number in range(3):
        tell(revision, click(number))
    tell(revision, click("tomorrow"), at=NOW + timedelta(days=1))
    said = AuditEvent.objects.filter(verb="monitoring.feedback").order_by("id")
    assert [(e.actor_name, e.after) for e in said] == [
        ("shop", {"day": "2026-11-22"}),
        ("shop", {"day": "2026-11-23"}),
    ]


def test_what_took_too_long_for_its_window_is_not_counted(
    revision: Revision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "LONGEST", timedelta(0))
    with pytest.raises(Transient):
        tell(revision, click(1))
    assert not FeedbackSeen.objects.exists()
    assert not FeedbackWindow.objects.exists()
    monkeypatch.undo()
    assert tell(revision, click(1)).taken == 1


@pytest.mark.django_db(transaction=True)
def test_callers_who_tell_the_same_at_once_are_counted_once() -> None:
    revision = factories.revision()
    items = [click(n) for n in range(300)]
    answers: list[FeedbackTaken] = []
    start = threading.Barrier(6)

    def caller(number: int) -> None:
        start.wait(10)
        mine = items if number % 2 else items[::-1]
        answers.append(tell(revision, *mine))
        connection.close()

    threads = [threading.Thread(target=caller, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 6
    assert sum(answer.taken for answer in answers) == 300
    assert [slice.tally for slice in told(revision)] == [Tally(300, 300, 300)]


# --- what a worker reads -----------------------------------------------------------------------


def test_whoever_reads_on_reads_every_window_once(revision: Revision) -> None:
    read: list[selectors.FeedbackSlice] = []
    after = FLOOR
    for second in range(0, 200, 7):
        now = NOW + timedelta(seconds=second)
        tell(revision, click(second), at=now)
        until = selectors.told_until(now)
        if until > after:
            read += told(revision, after=after, until=until)
            after = until
    last = NOW + timedelta(seconds=1000)
    read += told(revision, after=after, until=selectors.told_until(last))
    assert sum(slice.tally.count for slice in read) == len(range(0, 200, 7))
    assert len({slice.starts_at for slice in read}) == len(read)


def test_feedback_is_complete_a_while_after_its_window() -> None:
    assert selectors.told_until(FLOOR + feedback.LATE) == FLOOR
    assert selectors.told_until(FLOOR + feedback.LATE - timedelta(seconds=1)) < FLOOR
    assert services.LONGEST < feedback.LATE


def test_traffic_is_complete_up_to_the_window_of_the_last_reading() -> None:
    assert selectors.measured_until(NOW) is None
    LastReading.objects.create(pk=1, read_at=NOW)
    assert selectors.measured_until(NOW + timedelta(minutes=3)) == FLOOR
    assert selectors.measured_until(NOW - timedelta(seconds=5)) == FLOOR - windows.WINDOW


def test_old_feedback_is_dropped(revision: Revision) -> None:
    tell(revision, click(1))
    assert reconcile.tidy(NOW + timedelta(days=6)) == 0
    assert reconcile.tidy(NOW + timedelta(days=7, seconds=1)) == 1
    assert (FeedbackSeen.objects.count(), FeedbackWindow.objects.count()) == (0, 1)
    reconcile.tidy(NOW + timedelta(days=29))
    assert (FeedbackSender.objects.count(), FeedbackWindow.objects.count()) == (0, 1)
    reconcile.tidy(NOW + timedelta(days=30, seconds=1))
    assert FeedbackWindow.objects.count() == 0
