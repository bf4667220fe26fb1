"""Notifications, channels and the outbox by REST."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import Person
from apps.audit.models import AuditEvent
from apps.notifications import services, vault
from apps.notifications.models import Channel, Delivery, Notification
from controlplane.kernel.errors import Permanent
from tests import factories

pytestmark = pytest.mark.django_db
HOOK = "https://hooks.example.org/modelyard?key=s3cret"


def client_of(person: Person) -> Client:
    secret = factories.token(owner=person)[1]
    return Client(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def ada() -> Person:
    return factories.person(username="ada", role="operator")


@pytest.fixture
def api(ada: Person) -> Client:
    return client_of(ada)


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    answer = client.generic(
        method, f"/api/v1/{path}", b"" if body is None else __import__("json").dumps(body),
        content_type="application/json",
    )  # fmt: skip
    answer.data = answer.json() if answer.content else None
    return answer


def told(person: Person, title: str = "v3 waits", **columns: Any) -> Notification:
    return Notification.objects.create(
        person=person, kind="release.waits_for_you", title=title, link="/releases/1", **columns
    )


# --- what one is told -------------------------------------------------------------------------


def test_what_is_unread_comes_first_and_only_ones_own(api: Client, ada: Person) -> None:
    now = datetime.now(UTC)
    told(ada, "old"), told(ada, "read", read_at=now), told(ada, "new")
    told(factories.person(), "somebody else's")
    titles = [row["title"] for row in send(api, "GET", "notifications").data["results"]]
    assert titles == ["new", "old", "read"]
    unread = send(api, "GET", "notifications?unread=true").data["results"]
    assert [row["title"] for row in unread] == ["new", "old"]


def test_pages_follow_one_another_over_the_border_of_what_is_read(
    api: Client, ada: Person
) -> None:
    for number in range(5):
        told(ada, str(number), read_at=datetime.now(UTC) if number % 2 else None)
    seen, path = [], "notifications?limit=2"
    while path:
        data = send(api, "GET", path).data
        seen += [row["title"] for row in data["results"]]
        path = data["next"].partition("/api/v1/")[2] if data["next"] else ""
    assert seen == ["4", "2", "0", "3", "1"]


def test_reading_one_and_reading_all(api: Client, ada: Person) -> None:
    first, second, third = told(ada, "1"), told(ada, "2"), told(ada, "3")
    assert send(api, "POST", f"notifications/{first.public_id}/read", {}).data["read_at"]
    answer = send(api, "POST", "notifications/read", {"up_to": second.public_id})
    assert answer.data == {"marked": 1}
    third.refresh_from_db()
    assert third.read_at is None  # it came after they looked
    assert send(api, "POST", "notifications/read", {}).data == {"marked": 1}
    assert not AuditEvent.objects.filter(verb__startswith="notifications").exists()


def test_nobody_reads_what_somebody_else_was_told(api: Client) -> None:
    other = told(factories.person())
    answer = send(api, "POST", f"notifications/{other.public_id}/read", {})
    assert (answer.status_code, answer.data["code"]) == (404, "notification.missing")


def test_a_filter_that_makes_no_sense_says_so(api: Client) -> None:
    answer = send(api, "GET", "notifications?unread=perhaps")
    assert (answer.status_code, answer.data["code"]) == (422, "request.bad_flag")


# --- how one hears of it ----------------------------------------------------------------------


def test_a_person_chooses_how_to_hear_of_things(api: Client, ada: Person) -> None:
    answer = send(
        api, "PATCH", "notification-preferences",
        {"ways": {"release.live": "off", "gate.failed": "digest"}},
    )  # fmt: skip
    ways = {row["kind"]: (row["way"], row["usual"]) for row in answer.data["preferences"]}
    assert ways["release.live"] == ("off", "digest")
    assert ways["gate.failed"] == ("digest", "digest")
    event = AuditEvent.objects.get(verb="notifications.follow")
    assert (event.before, event.after) == ({"release.live": "digest"}, {"release.live": "off"})
    send(api, "PATCH", "notification-preferences", {"ways": {"release.live": "off"}})
    assert AuditEvent.objects.filter(verb="notifications.follow").count() == 1


@pytest.mark.parametrize(
    ("ways", "code"),
    [({"no.such": "off"}, "preference.bad_kind"), ({"release.live": "loud"}, "request.invalid")],
)
def test_a_choice_that_there_is_not(api: Client, ways: dict[str, str], code: str) -> None:
    answer = send(api, "PATCH", "notification-preferences", {"ways": ways})
    assert (answer.status_code, answer.data["code"]) == (422, code)


# --- channels ---------------------------------------------------------------------------------


def made(api: Client, **given: Any) -> Any:
    return send(
        api, "POST", "notification-channels",
        {"name": "hook", "transport": "webhook", "target": HOOK, **given},
    )  # fmt: skip


def test_a_webhook_is_made_and_its_secret_shown_once(api: Client, ada: Person) -> None:
    answer = made(api)
    assert answer.status_code == 201, answer.data
    assert answer.data["target"] == "https://hooks.example.org/…"
    assert (answer.data["person"], answer.data["team"]) == ("ada", None)
    secret = answer.data["secret"]
    assert len(secret) == 64
    read = send(api, "GET", f"notification-channels/{answer.data['id']}")
    assert "secret" not in read.data
    assert read["ETag"]
    row = Channel.objects.get()
    assert vault.open_target(row) == HOOK
    assert vault.open_secret(row) == secret
    with connection.cursor() as cursor:  # nothing of it lies open in the database
        cursor.execute("SELECT to_jsonb(c)::text FROM notifications_channel c")
        kept = str(cursor.fetchall())
        cursor.execute("SELECT to_jsonb(e)::text FROM audit_auditevent e")
        kept += str(cursor.fetchall())
    assert "s3cret" not in kept
    assert secret not in kept


def test_a_sealed_address_cannot_be_moved_to_another_server(settings: Any) -> None:
    row = Channel(name="x", target=vault.seal(HOOK))
    settings.SECRET_KEY = "z" * 50
    with pytest.raises(Permanent, match="another key"):
        vault.open_target(row)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"target": "http://hooks.example.org"}, "channel.bad_target"),
        ({"target": "ftp://hooks.example.org"}, "channel.bad_target"),
        ({"target": "https://"}, "channel.bad_target"),
        ({"target": "https://ada:pw@hooks.example.org"}, "channel.bad_target"),
        ({"target": "https://x.example.org:99999/"}, "channel.bad_target"),
        ({"target": "https://x.example.org/ y"}, "channel.bad_target"),
        ({"target": "https://[::1"}, "channel.bad_target"),
        ({"transport": "mail", "target": "ada"}, "channel.bad_target"),
        ({"transport": "mail", "target": "ada@x.org\nBcc: eve@x.org"}, "channel.bad_target"),
        ({"transport": "mail", "target": "a@x.org,b@x.org"}, "channel.bad_target"),
        ({"transport": "apprise", "target": "file:///etc/passwd"}, "channel.bad_target"),
        ({"transport": "apprise", "target": "syslog://"}, "channel.bad_target"),
        ({"transport": "apprise", "target": "json://x.example.org"}, "channel.bad_target"),
        ({"transport": "apprise", "target": "jsons://x.example.org?rto=9999"},
         "channel.bad_target"),
        ({"transport": "apprise", "target": "msteams://a@b/c/d?template=/etc/passwd"},
         "channel.bad_target"),
        ({"transport": "pigeon"}, "request.invalid"),
        ({"name": " "}, "request.invalid"),
        ({"name": "x" * 81}, "request.invalid"),
        ({"kinds": ["no.such"]}, "channel.bad_kind"),
        ({"on_call": True}, "channel.on_call_of_nobody"),
        ({"team": "no-such"}, "accounts.team_missing"),
        ({"color": "red"}, "request.invalid"),
    ],
)  # fmt: skip
def test_a_channel_that_cannot_be_is_refused(
    api: Client, given: dict[str, Any], code: str
) -> None:
    answer = made(api, **given)
    assert answer.status_code in (404, 422), answer.data
    assert answer.data["code"] == code
    assert "s3cret" not in str(answer.data)
    assert not Channel.objects.exists()


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("slack://T1/B2/C3/#ops", "slack://…"),
        ("pagerduty://key@service/?region=us", "pagerduty://…"),
        ("jsons://user:pw@x.example.org:8443/a", "jsons://x.example.org:8443/…"),
        ("tgram://123456789:abcdefg_hij/12315544/", "tgram://…"),
    ],
)
def test_an_address_is_shown_without_its_secret(api: Client, target: str, shown: str) -> None:
    answer = made(api, transport="apprise", target=target)
    assert answer.data["target"] == shown
    assert answer.data["secret"] == ""


def test_a_name_is_given_once_to_an_owner(api: Client) -> None:
    factories.team(slug="fraud")
    assert made(api).status_code == made(api, team="fraud").status_code == 201
    answer = made(api)
    assert (answer.status_code, answer.data["code"]) == (409, "channel.name_taken")


def test_a_new_address_must_be_tried_again_and_a_new_name_need_not(api: Client) -> None:
    channel = made(api).data["id"]
    Channel.objects.update(verified_at=datetime.now(UTC))
    send(api, "PATCH", f"notification-channels/{channel}", {"name": "other"})
    assert Channel.objects.get().verified_at
    answer = send(
        api, "PATCH", f"notification-channels/{channel}", {"target": "https://new.example.org/"}
    )
    assert answer.data["verified_at"] is None
    assert answer.data["target"] == "https://new.example.org/…"
    event = AuditEvent.objects.filter(verb="notifications.channel.edit").latest("pk")
    assert event.after == {"target": "https://new.example.org/… (given anew)"}


def test_every_change_of_a_channel_is_in_the_ledger(api: Client) -> None:
    channel = made(api).data["id"]
    for verb in ("test", "disable", "disable", "enable", "secret"):
        answer = send(api, "POST", f"notification-channels/{channel}/{verb}", {})
        assert answer.status_code in (200, 202), answer.data
    assert len(answer.data["secret"]) == 64
    assert send(api, "DELETE", f"notification-channels/{channel}").status_code == 204
    verbs = AuditEvent.objects.filter(verb__startswith="notifications.").order_by("pk")
    assert [event.verb.removeprefix("notifications.channel.") for event in verbs] == [
        "create", "test", "disable", "enable", "rotate", "remove",
    ]  # fmt: skip


def test_only_its_owner_touches_a_persons_channel(api: Client) -> None:
    channel = made(api).data["id"]
    admin = client_of(factories.person(role="admin"))
    assert send(admin, "GET", f"notification-channels/{channel}").status_code == 404
    assert send(admin, "DELETE", f"notification-channels/{channel}").status_code == 404


def test_a_viewer_has_channels_of_their_own_and_none_of_a_team() -> None:
    factories.team(slug="fraud")
    viewer = client_of(factories.person(role="viewer"))
    assert made(viewer).status_code == 201
    answer = made(viewer, team="fraud")
    assert (answer.status_code, answer.data["code"]) == (403, "access.denied")


def test_a_disabled_channel_cannot_be_tested(api: Client) -> None:
    channel = made(api).data["id"]
    send(api, "POST", f"notification-channels/{channel}/disable", {})
    answer = send(api, "POST", f"notification-channels/{channel}/test", {})
    assert (answer.status_code, answer.data["code"]) == (409, "channel.disabled")


def test_a_test_message_is_on_its_way_to_be_looked_at(api: Client) -> None:
    channel = made(api).data["id"]
    answer = send(api, "POST", f"notification-channels/{channel}/test")
    assert answer.status_code == 202
    looked = api.get(answer["Location"])
    assert looked.json()["state"] == "pending"
    assert looked.json()["channel_name"] == "hook"


# --- the outbox -------------------------------------------------------------------------------


def a_delivery(**columns: Any) -> Delivery:
    payload = {"kind": "release.live", "title": "v3 is live", "body": "", "link": "/releases/1",
               "urgent": False, "at": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    return Delivery.objects.create(
        **{"kind": "release.live", "payload": payload, "state": "dead", **columns}
    )


def test_everybody_sees_their_own_deliveries_and_operators_all(api: Client) -> None:
    team, vic = factories.team(slug="fraud"), factories.person(username="vic")
    factories.grant(person=vic, role="viewer", team=team)
    its = Channel.objects.create(name="a", team=team, transport="mail", target="x", shown="x")
    other = Channel.objects.create(
        name="b", team=factories.team(), transport="mail", target="x", shown="x"
    )
    a_delivery(channel=its), a_delivery(channel=other, state="delivered")
    (
        a_delivery(person=vic, address="vic@example.org"),
        a_delivery(person=factories.person(), address="eve@example.org"),
    )
    assert len(send(api, "GET", "deliveries").data["results"]) == 4
    mine = send(client_of(vic), "GET", "deliveries").data["results"]
    assert [(row["person"], row["channel_name"]) for row in mine] == [("vic", None), (None, "a")]
    dead = send(api, "GET", "deliveries?state=dead").data["results"]
    assert len(dead) == 3
    answer = send(api, "GET", "deliveries?state=lost")
    assert (answer.status_code, answer.data["code"]) == (422, "delivery.bad_state")


def test_a_dead_letter_is_sent_again_by_an_operator(api: Client) -> None:
    row = a_delivery(person=factories.person(), address="x@example.org", attempts=9, tries=10)
    answer = send(api, "POST", f"deliveries/{row.public_id}/replay", {"reason": "mended"})
    assert answer.status_code == 202, answer.data
    assert (answer.data["state"], answer.data["replays"]) == ("pending", 1)
    row.refresh_from_db()
    assert (row.attempts, row.tries) == (0, 10)
    assert row.next_reconcile_at is not None
    event = AuditEvent.objects.get(verb="notifications.delivery.replay")
    assert event.reason == "mended"
    again = send(api, "POST", f"deliveries/{row.public_id}/replay", {})
    assert (again.status_code, again.data["code"]) == (409, "delivery.pending")


def test_an_operator_of_one_team_replays_only_its_own() -> None:
    team = factories.team(slug="fraud")
    olga = factories.person()
    factories.grant(person=olga, role="operator", team=team)
    other = factories.team()
    factories.grant(person=olga, role="viewer", team=other)
    rows = [
        a_delivery(channel=Channel.objects.create(
            name="a", team=of, transport="mail", target="x", shown="x"))
        for of in (team, other)
    ]  # fmt: skip
    answers = [
        send(client_of(olga), "POST", f"deliveries/{row.public_id}/replay", {}) for row in rows
    ]
    assert [answer.status_code for answer in answers] == [202, 403]


def test_replaying_a_delivery_of_nobody_is_not_found(api: Client) -> None:
    answer = send(api, "POST", "deliveries/nothere/replay", {})
    assert (answer.status_code, answer.data["code"]) == (404, "delivery.missing")


def test_old_deliveries_answer_in_few_queries(
    api: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        a_delivery(person=factories.person(), address=f"{number}@example.org")
    with django_assert_max_num_queries(6):
        assert len(send(api, "GET", "deliveries").data["results"]) == 30


def test_services_refuse_whoever_is_nobody() -> None:
    from controlplane.kernel.actor import worker
    from controlplane.kernel.errors import Denied

    with pytest.raises(Denied):
        services.mark_all_read(actor=worker("builds"))
