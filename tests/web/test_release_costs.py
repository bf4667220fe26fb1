"""What the pages of releases cost: the same however much there is to show."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.approvals import selectors, waiting
from apps.approvals.models import ApprovalRequest, Decision
from tests import factories
from tests.governed import Governed
from tests.web import releasing

pytestmark = pytest.mark.django_db
RELEASE_PAGE = 17
INBOX_PAGE = 9
OPEN = 2_000


def queries_of(browser: Client, path: str) -> int:
    browser.get(path)
    with CaptureQueriesContext(connection) as caught:
        assert browser.get(path).status_code == 200
    return len(caught)


def signed_in(house: Governed, name: str) -> Client:
    browser = Client()
    browser.force_login(house.people[name])
    return browser


@pytest.mark.parametrize(("gates", "comments"), [(4, 1), (200, 50)])
def test_a_release_costs_the_same_with_two_hundred_gates_and_fifty_comments(
    gates: int, comments: int
) -> None:
    house = releasing.scene(gates=gates)
    row = releasing.proposed(house)
    releasing.discussed(house, row, comments=comments)
    house.run(row, "awaiting_approval")
    house.approve(row, "reviewer")
    assert queries_of(signed_in(house, "operator"), f"/releases/{row.number}") == RELEASE_PAGE


@pytest.mark.parametrize("count", [1, OPEN])
def test_the_inbox_costs_the_same_with_two_thousand_open_releases(count: int) -> None:
    house = releasing.scene(gates=1)
    row = releasing.proposed(house)
    row = house.run(row, "awaiting_approval")
    releasing.many(house, row, count)
    browser = signed_in(house, "operator")
    assert queries_of(browser, "/inbox") == INBOX_PAGE
    assert f"{count + 1:,} things wait for you" in browser.get("/inbox").content.decode()


def test_the_short_question_answers_as_the_long_one() -> None:
    """`waiting.requests` in the database, `selectors.waiting_for` in Python: one truth."""
    house = releasing.scene(gates=1)
    row = house.run(releasing.proposed(house), "awaiting_approval")
    releasing.many(house, row, 12)
    asked = list(ApprovalRequest.objects.order_by("id"))
    people = [house.people[n] for n in ("reviewer", "second", "operator", "boss", "author")]
    for place, request in enumerate(asked):
        if place % 3 == 1:
            request.excluded = [people[place % 5].pk]
            request.save(update_fields=["excluded"])
        if place % 2:
            Decision.objects.create(
                request=request, person=people[place % 4], kind="approve", digest=request.digest
            )
        if place % 4 == 3:
            Decision.objects.create(
                request=request, person=people[(place + 1) % 4], kind="approve",
                digest="sha256:another",
            )  # fmt: skip
    factories.grant(person=people[4], role="operator", environment="dev")
    for name in house.people:
        actor = house.actor(name)
        expected = [r.pk for r in selectors.waiting_for(actor)]
        assert waiting.requests(actor) == expected, name
