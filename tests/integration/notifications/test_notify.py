"""Who is told, how, and how often."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
from django.db import connections, transaction

from apps.notifications import selectors, services
from apps.notifications.models import Channel, Delivery, Notification, Preference
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
ASK = {"kind": "release.waits_for_you", "title": "Fraud v3 waits", "link": "/releases/1"}


@pytest.fixture(autouse=True)
def mail(settings):
    settings.SMTP_URL = "smtp://mail.example.org"


def somebody(**columns):
    made = factories.person()
    made.email = f"{made.username}@example.org"
    for name, value in columns.items():
        setattr(made, name, value)
    made.save()
    return made


def channel(**columns):
    return Channel.objects.create(
        **{"name": "a", "transport": "webhook", "target": "x", "shown": "x", **columns}
    )


def test_a_person_sees_it_on_their_page_and_gets_a_mail():
    ada = somebody()
    services.notify(**ASK, people=[ada.pk])
    told = Notification.objects.get()
    assert (told.person, told.kind, told.title, told.link) == (
        ada, "release.waits_for_you", "Fraud v3 waits", "/releases/1",
    )  # fmt: skip
    sent = Delivery.objects.get()
    assert (sent.address, sent.state, sent.payload["title"]) == (
        ada.email, "pending", "Fraud v3 waits",
    )  # fmt: skip
    assert sent.next_reconcile_at is not None


def test_saying_it_twice_with_one_key_says_it_once():
    ada, bob = somebody(), somebody()
    team = factories.team()
    channel(team=team)
    for people in ([ada.pk], [ada.pk, bob.pk]):
        services.notify(**ASK, people=people, teams=[team.pk], dedupe="release/1/waits/1")
    assert Notification.objects.filter(person__in=[ada, bob]).count() == 2
    assert Delivery.objects.filter(person__in=[ada, bob]).count() == 2
    assert Delivery.objects.exclude(channel=None).count() == 1


def test_without_a_key_everything_is_said():
    ada = somebody()
    for _ in range(2):
        services.notify(**ASK, people=[ada.pk])
    assert Notification.objects.count() == 2


def test_a_team_is_whoever_holds_a_role_in_it():
    team, other = factories.team(), factories.team()
    ada, bob, left = somebody(), somebody(), somebody(is_active=False)
    factories.grant(person=ada, team=team)
    factories.grant(person=ada, role="reviewer", team=team)
    factories.grant(person=left, team=team)
    factories.grant(person=bob, team=other)
    services.notify(**ASK, teams=[team.pk])
    assert [n.person for n in Notification.objects.all()] == [ada]


def test_a_team_of_nobody_reaches_the_admins():
    admin = somebody()
    factories.grant(person=admin, role="admin")
    services.notify(**ASK, teams=[factories.team().pk])
    assert Notification.objects.filter(person=admin).exists()


@pytest.mark.parametrize(
    ("way", "urgent", "on_page", "mails", "digests"),
    [
        ("page", False, 1, 0, 0),
        ("mail", False, 1, 1, 0),
        ("digest", False, 1, 0, 1),
        ("digest", True, 1, 1, 0),
        ("off", False, 0, 0, 0),
        ("off", True, 0, 0, 0),
    ],
)
def test_a_person_chooses_how(way, urgent, on_page, mails, digests):
    ada = somebody()
    Preference.objects.create(person=ada, kind=ASK["kind"], way=way)
    services.notify(**ASK, people=[ada.pk], urgent=urgent)
    assert Notification.objects.count() == on_page
    assert Delivery.objects.count() == mails
    assert Notification.objects.exclude(digest_at=None).count() == digests


def test_no_mail_is_written_where_nothing_could_send_it(settings):
    settings.SMTP_URL = ""
    services.notify(**ASK, people=[somebody().pk])
    assert Notification.objects.count() == 1
    assert not Delivery.objects.exists()


def test_channels_are_told_what_they_asked_for():
    team = factories.team()
    for name, columns in {
        "everything": {},
        "this": {"kinds": ["release.waits_for_you"]},
        "other": {"kinds": ["gate.failed"]},
        "disabled": {"disabled_at": datetime(2026, 1, 1, tzinfo=UTC)},
    }.items():
        channel(name=name, team=team, **columns)
    channel(name="elsewhere", team=factories.team())
    services.notify(**ASK, teams=[team.pk])
    told = {d.channel.name for d in Delivery.objects.exclude(channel=None)}
    assert told == {"everything", "this"}


def test_a_teams_channel_is_told_without_everybody_in_the_team():
    team, ada = factories.team(), somebody()
    factories.grant(person=ada, team=team)
    channel(name="chat", team=team)
    services.notify(**ASK, channels_of=[team.pk])
    assert [d.channel.name for d in Delivery.objects.all()] == ["chat"]
    assert not Notification.objects.exists()


def test_on_call_hears_whatever_it_subscribed_to():
    team = factories.team()
    channel(name="pager", team=team, on_call=True, kinds=["gate.failed"])
    channel(name="chat", team=team)
    services.notify(**ASK, on_call_of=team.pk)
    assert [d.channel.name for d in Delivery.objects.all()] == ["pager"]


def test_nobody_is_told_of_what_was_rolled_back():
    ada = somebody()

    @transaction.atomic
    def tell_and_fail():
        services.notify(**ASK, people=[ada.pk])
        raise LookupError

    with pytest.raises(LookupError):
        tell_and_fail()
    assert not Notification.objects.exists()
    assert not Delivery.objects.exists()


def test_what_is_said_may_be_long_or_strange():
    ada = somebody()
    services.notify(
        kind="no.such.kind",
        title="a\r\nBcc: x@example.org " + "ü" * 300,
        body="\x00" + "b" * 20_000,
        link="/releases/1",
        people=[ada.pk],
        dedupe="k" * 1000,
    )
    told = Notification.objects.get()
    assert len(told.title) == 200
    assert "\n" not in told.title
    assert len(told.body) == 10_000
    assert not Delivery.objects.exists()  # a kind that nobody knows is on the page only


@pytest.mark.parametrize("link", ["https://example.org", "//example.org", "releases/1"])
def test_a_link_stays_with_us(link):
    with pytest.raises(ValueError, match="a path of ours"):
        services.notify(kind="gate.failed", title="x", link=link, people=[])


# --- whether somebody would be woken ----------------------------------------------------------


def test_nobody_is_reachable_without_a_channel_on_call():
    team = factories.team()
    channel(team=team, verified_at=NOW)
    channel(name="pager", team=factories.team(), on_call=True, verified_at=NOW)
    channel(name="off", team=team, on_call=True, verified_at=NOW, disabled_at=NOW)
    assert selectors.on_call_reachable(team.pk) == (
        False, "The team has no channel on call.", None,
    )  # fmt: skip


def test_a_channel_that_nobody_tried_is_not_known_to_work():
    team = factories.team()
    channel(name="pager", team=team, on_call=True)
    reachable, sentence, at = selectors.on_call_reachable(team.pk)
    assert (reachable, at) == (False, None)
    assert "No message has reached" in sentence
    assert "(pager)" in sentence


def test_a_channel_that_a_message_reached_counts_and_the_latest_is_told():
    team = factories.team()
    channel(name="pager", team=team, on_call=True, verified_at=NOW - timedelta(days=3))
    channel(name="phone", team=team, on_call=True, verified_at=NOW)
    channel(name="new", team=team, on_call=True)
    assert selectors.on_call_reachable(team.pk) == (
        True, "A message reached phone, a channel of the team on call.", NOW,
    )  # fmt: skip


# --- many at once -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_same_thing_said_by_many_at_once_is_said_once():
    people = [somebody() for _ in range(5)]
    team = factories.team()
    channel(team=team)
    barrier, failed = Barrier(6), []

    def say(number):
        told = [person.pk for person in people]
        try:
            barrier.wait()
            with transaction.atomic():
                # In another order each: locks taken in that order would wait for each other.
                services.notify(
                    **ASK, people=told[number % 5 :] + told[: number % 5], teams=[team.pk],
                    dedupe="release/1/waits/1",
                )  # fmt: skip
        except Exception as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=say, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert Notification.objects.count() == 5
    assert Delivery.objects.count() == 6


def test_telling_two_hundred_people_takes_as_many_queries_as_telling_one(
    django_assert_max_num_queries,
):
    people = [somebody().pk for _ in range(200)]
    with django_assert_max_num_queries(12):
        services.notify(**ASK, people=people, dedupe="x")
    assert Delivery.objects.count() == 200
