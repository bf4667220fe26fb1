"""The button that begins a rehearsal, and what its page says."""

import pytest
from django.test import Client

from apps.endpoints.models import Revision
from apps.rollouts.models import Rollout
from tests import factories
from tests.web.pages import sound, text

pytestmark = pytest.mark.django_db


def browser(role: str) -> Client:
    made = Client()
    made.force_login(factories.person(role=role))
    return made


@pytest.fixture
def live() -> Revision:
    return factories.revision(endpoint=factories.endpoint(environment="staging"))


def press(client: Client, live: Revision, **given: str) -> str:
    place = live.endpoint.environment.slug
    asked = {"model": live.endpoint.name, "environment": place, "version": "1", "reason": "r"}
    answer = client.post("/rollouts/rehearse", {**asked, **given})
    assert answer.status_code == 302, answer.content.decode()[:500]
    return str(answer["Location"])


def test_the_endpoint_s_page_begins_a_rehearsal_and_goes_to_it(live: Revision) -> None:
    client = browser("contributor")
    page = client.get(f"/endpoints/staging/{live.endpoint.name}").content.decode()
    assert 'action="/rollouts/rehearse"' in page
    assert "a tenth of the requests" in text(page)
    where = press(client, live)
    row = Rollout.objects.get()
    assert where == f"/rollouts/{row.public_id}"
    page = client.get(where).content.decode()
    sound(page)
    assert f"{live.endpoint.name} v1 rehearses going back to v1 in staging" in text(page)
    assert 'id="do-promote"' not in page


def test_what_is_refused_is_said_where_it_was_asked(live: Revision) -> None:
    client = browser("contributor")
    for given, said in (
        ({"reason": " "}, "needs a reason"),
        ({"version": "x"}, "not the number of a version"),
        ({"version": "77"}, "77"),
    ):
        back = press(client, live, **given)
        assert back.startswith(f"/endpoints/staging/{live.endpoint.name}")
        assert said in text(client.get(back.partition("#")[0]).content.decode())
    assert not Rollout.objects.exists()


def test_there_is_no_such_button_where_it_is_protected_or_for_who_may_not(live: Revision) -> None:
    action = 'action="/rollouts/rehearse"'
    guarded = factories.revision(endpoint=factories.endpoint(environment="production"))
    page = browser("contributor").get(f"/endpoints/production/{guarded.endpoint.name}")
    assert action not in page.content.decode()
    page = browser("viewer").get(f"/endpoints/staging/{live.endpoint.name}")
    assert action not in page.content.decode()
