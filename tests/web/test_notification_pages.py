"""What one is told, how one hears of it, and the outbox, as a browser without script sees it."""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Person
from apps.notifications.models import Channel, Delivery, Notification, Preference
from tests import factories

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script>"
PATHS = ["/notifications", "/notifications?only=unread", "/settings/notifications", "/deliveries",
         "/deliveries?state=dead"]  # fmt: skip


def told(person: Person, title: str = "v3 waits", **columns: Any) -> Notification:
    return Notification.objects.create(
        person=person, kind="release.waits_for_you", title=title, link="/models", **columns
    )


def a_channel(**columns: Any) -> Channel:
    return Channel.objects.create(
        **{"name": "hook", "transport": "webhook", "target": "x", "shown": "https://x/…",
           "team": factories.team(slug="fraud"), **columns}
    )  # fmt: skip


def a_delivery(title: str = "v3 waits", **columns: Any) -> Delivery:
    payload = {"kind": "release.live", "title": title, "body": "", "link": "/models",
               "urgent": False, "at": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    return Delivery.objects.create(**{"kind": "release.live", "payload": payload, **columns})


def text_of(browser: Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.content[:2000]
    return answer.content.decode()


def fill(admin: Person, count: int) -> None:
    for number in range(count):
        told(admin, f"{HOSTILE} {number}", body=HOSTILE)
        told(admin, f"read {number}", read_at=datetime.now(UTC))
        its = a_channel(name=f"{HOSTILE} {number}", shown=HOSTILE)
        a_delivery(HOSTILE, channel=its, state="dead", problem=HOSTILE, remedy="Mend it.")
        a_delivery(HOSTILE, channel=its, kind="channel.test", state="delivered", receipt=HOSTILE)
        a_delivery("to ada", person=admin, address="ada@example.org")


# --- every page -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_an_empty_page_says_what_to_do_first(ada: Client, path: str) -> None:
    page = text_of(ada, path)
    assert "<h1>" in page
    assert 'class="empty"' in page or "Show all" in page


@pytest.mark.parametrize("path", PATHS)
def test_a_page_costs_the_same_at_one_and_at_thirty_rows(
    ada: Client, admin: Person, path: str
) -> None:
    costs = []
    for count in (1, 29):
        fill(admin, count)
        Channel.objects.filter(pk__gt=0).update(disabled_at=None)
        ada.get(path)
        with CaptureQueriesContext(connection) as caught:
            ada.get(path)
        costs.append(len(caught))
        Channel.objects.all().delete()
    assert costs[0] == costs[1] <= 12


@pytest.mark.parametrize("path", PATHS)
def test_what_people_write_is_text(ada: Client, admin: Person, path: str) -> None:
    fill(admin, 1)
    page = text_of(ada, path)
    assert HOSTILE not in page
    assert not re.search(r"<[^>]+\son\w+\s*=", page)


@pytest.mark.parametrize("path", PATHS)
def test_a_part_is_a_piece_of_its_page(ada: Client, admin: Person, path: str) -> None:
    fill(admin, 2)
    page = text_of(ada, path)
    for address in re.findall(r'data-live[^>]* hx-get="([^"]*part=[^"]*)"', page):
        url = urljoin(path, address.replace("&amp;", "&"))
        part = ada.get(url, headers={"HX-Request": "true"}).content.decode()
        assert "<html" not in part
        assert re.match(r"\s*<(section|header) ", part)


# --- what one is told -------------------------------------------------------------------------


def test_opening_it_marks_it_as_read_and_goes_there(ada: Client, admin: Person) -> None:
    row = told(admin)
    answer = ada.post(f"/notifications/{row.public_id}/read", {"open": "1"})
    assert (answer.status_code, answer["Location"]) == (302, "/models")
    row.refresh_from_db()
    assert row.read_at is not None


def test_marking_one_or_all_as_read_stays_on_the_page(ada: Client, admin: Person) -> None:
    rows = [told(admin, str(number)) for number in range(3)]
    answer = ada.post(f"/notifications/{rows[0].public_id}/read", {"only": "unread"})
    assert answer["Location"] == "/notifications?only=unread"
    late = told(admin, "late")
    ada.post("/notifications/read", {"up_to": rows[2].public_id})
    assert list(Notification.objects.filter(read_at=None)) == [late]


def test_the_bell_counts_what_is_unread_by_one_query_of_its_own(
    ada: Client, admin: Person
) -> None:
    assert "bell-count" not in text_of(ada, "/notifications/bell")
    for _ in range(3):
        told(admin)
    told(factories.person())
    with CaptureQueriesContext(connection) as caught:
        page = text_of(ada, "/notifications/bell")
    assert "3 unread notifications" in page
    assert sum("notifications_notification" in query["sql"] for query in caught) == 1
    Notification.objects.bulk_create(
        Notification(person=admin, kind="x", title="x", link="/") for _ in range(150)
    )
    assert ">99+<" in text_of(ada, "/notifications/bell")


def test_every_page_has_the_bell_and_waits_for_nothing(ada: Client) -> None:
    with CaptureQueriesContext(connection) as caught:
        page = text_of(ada, "/models")
    assert 'hx-get="/notifications/bell"' in page
    assert not [query for query in caught if "notifications_" in query["sql"]]


# --- how one hears of it ----------------------------------------------------------------------


def test_choices_are_kept_and_shown(ada: Client, admin: Person) -> None:
    ada.post("/settings/notifications/ways", {"release.live": "off", "nonsense": "off"})
    assert Preference.objects.get().way == "off"
    page = text_of(ada, "/settings/notifications")
    select = re.search(r'name="release.live">(.*?)</select>', page, re.S)
    assert select is not None
    assert '<option value="off" selected>' in select[1]


def test_a_person_says_where_their_mail_goes(ada: Client, admin: Person) -> None:
    ada.post("/settings/notifications/mail", {"email": "ada@example.org"})
    admin.refresh_from_db()
    assert admin.email == "ada@example.org"
    answer = ada.post("/settings/notifications/mail", {"email": "nonsense"})
    assert answer.status_code == 422
    assert "valid email" in answer.content.decode()


def test_a_page_says_when_nothing_can_go_out_by_mail(ada: Client, settings: Any) -> None:
    settings.SMTP_URL = ""
    assert "No mail server is set up" in text_of(ada, "/settings/notifications")
    settings.SMTP_URL = "smtp://mail.example.org"
    assert "You have no mail address yet" in text_of(ada, "/settings/notifications")


# --- channels ---------------------------------------------------------------------------------

GIVEN = {"name": "hook", "transport": "webhook", "target": "https://hooks.example.org/s3cret",
         "which": "all"}  # fmt: skip


def test_a_webhook_shows_its_secret_once(ada: Client) -> None:
    page = ada.post("/settings/notifications/channels", GIVEN).content.decode()
    # The page of the answer has the address of the command, which cannot be read again.
    assert 'hx-get="/settings/notifications?part=channels"' in page
    [secret] = re.findall(r'id="secret">([0-9a-f]{64})<', page)
    later = text_of(ada, "/settings/notifications")
    assert secret not in later
    assert "s3cret" not in later
    assert "Not tested" in later


def test_a_channel_of_a_team_for_some_things(ada: Client) -> None:
    factories.team(slug="fraud")
    answer = ada.post(
        "/settings/notifications/channels",
        {**GIVEN, "transport": "mail", "target": "fraud@example.org", "team": "fraud",
         "on_call": "on", "which": "chosen", "kinds": ["gate.failed"]},
    )  # fmt: skip
    assert answer.status_code == 302
    row = Channel.objects.get()
    assert row.team is not None
    assert (row.team.slug, row.on_call, row.kinds) == ("fraud", True, ["gate.failed"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "http://x.example.org"}, "could be read on its way"),
        ({"name": ""}, "This field is required"),
        ({"which": "chosen"}, "Choose at least one"),
        ({"on_call": "on"}, "Only a channel of a team can be on call"),
        ({"team": "nobody"}, "Select a valid choice"),
        ({"transport": "pigeon"}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_stands_at_its_field(ada: Client, given: dict[str, str], said: str) -> None:
    answer = ada.post("/settings/notifications/channels", {**GIVEN, **given})
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Channel.objects.exists()


def test_the_answer_of_a_test_stands_beside_the_channel(ada: Client) -> None:
    row = a_channel()
    ada.post(f"/settings/notifications/channels/{row.public_id}/test")
    assert "Testing" in text_of(ada, "/settings/notifications")
    Delivery.objects.update(state="dead", problem="The receiver answered 500.", remedy="Look.")
    page = text_of(ada, "/settings/notifications")
    assert "The receiver answered 500. Look." in page
    Delivery.objects.update(state="delivered", receipt="200 thanks")
    Channel.objects.update(verified_at=datetime.now(UTC))
    page = text_of(ada, "/settings/notifications")
    assert "It works" in page
    assert "200 thanks" in page


def test_a_channel_is_edited_disabled_and_removed(ada: Client) -> None:
    row = a_channel()
    page = f"/settings/notifications/channels/{row.public_id}"
    assert "hook" in text_of(ada, page)
    given = {"name": "other", "which": "chosen", "kinds": ["gate.failed"], "target": ""}
    assert ada.post(page, given).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.kinds, row.target) == ("other", ["gate.failed"], "x")
    ada.post(f"{page}/disable")
    assert "Disabled" in text_of(ada, "/settings/notifications")
    ada.post(f"{page}/enable")
    assert re.search(r'id="secret">[0-9a-f]{64}<', ada.post(f"{page}/secret").content.decode())
    assert ada.post(page, {**given, "target": "nonsense"}).status_code == 422
    ada.post(f"{page}/remove")
    assert not Channel.objects.exists()


def test_a_viewer_sees_a_teams_channel_and_cannot_touch_it(viewer: Client) -> None:
    row = a_channel()
    page = text_of(viewer, "/settings/notifications")
    assert "hook" in page
    assert f"{row.public_id}/test" not in page
    assert "Needs a role" in text_of(viewer, f"/settings/notifications/channels/{row.public_id}")


# --- the outbox -------------------------------------------------------------------------------


def test_a_dead_letter_is_read_and_sent_again(ada: Client) -> None:
    row = a_delivery(channel=a_channel(), state="dead", problem="It said 404.", remedy="Mend it.")
    page = text_of(ada, "/deliveries")
    assert "1 message did not arrive" in page
    assert "It said 404. Mend it." in page
    answer = ada.post(f"/deliveries/{row.public_id}/replay", {"state": "dead"})
    assert answer["Location"] == "/deliveries?state=dead"
    assert Delivery.objects.get().state == "pending"
    assert ada.post(f"/deliveries/{row.public_id}/replay").status_code == 302
    assert "on its way already" in text_of(ada, "/deliveries")


def test_whoever_is_no_operator_is_not_offered_to_send_again(viewer: Client) -> None:
    a_delivery(channel=a_channel(), state="dead")
    assert "Send again" not in text_of(viewer, "/deliveries")
