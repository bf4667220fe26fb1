"""Deliveries on their way: what may happen in between, and many workers at once."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from django.db import connections

from apps.notifications import services
from apps.notifications.models import Channel, Delivery
from apps.notifications.reconcile import DeliveryReconciler
from controlplane.db.reconcile import claim_due, claim_one
from tests import factories
from tests.integration.notifications.conftest import PUBLIC_URL, Office, a_channel, a_delivery
from tests.receivers import WebReceiver
from workers import loop

pytestmark = pytest.mark.django_db


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_loses_nothing(office: Office, web: WebReceiver, when: str):
    sent = a_delivery(a_channel(web.url))
    real = office.senders["webhook"]

    class Dying:
        def send(self, parcel: Any) -> str:
            office.senders["webhook"] = real
            if when == "after":
                real.send(parcel)
            raise Died

    office.senders["webhook"] = Dying()
    with pytest.raises(Died):
        office.step(sent)
    assert Delivery.objects.get().state == "pending"
    sent = office.step(sent)  # once the lease has run out
    assert sent.state == "delivered"
    ids = {request.headers["Modelyard-Id"] for request in web.received}
    assert ids == {sent.public_id}  # a receiver can tell that it came twice
    assert len(web.received) == (2 if when == "after" else 1)


def test_a_person_wins_over_a_worker_in_the_middle_of_an_attempt(office: Office, web: WebReceiver):
    admin = factories.actor_with("admin")
    sent = a_delivery(a_channel(web.url), state="dead", next_reconcile_at=None)
    services.replay(actor=admin, delivery_id=sent.public_id)
    claim = claim_one(Delivery, sent.pk, now=office.now, lease=timedelta(seconds=45))
    assert claim is not None
    Delivery.objects.filter(pk=sent.pk).update(state="dead")
    services.replay(actor=admin, delivery_id=sent.public_id)
    DeliveryReconciler(office.senders, PUBLIC_URL)(claim, office.now)
    row = Delivery.objects.get()
    assert (row.state, row.tries, row.replays) == ("pending", 0, 2)


def test_an_old_address_does_not_vouch_for_the_new_one(office: Office, web: WebReceiver):
    admin = factories.actor_of(factories.person(role="admin"))
    channel = a_channel(web.url)
    services.test_channel(actor=admin, channel_id=channel.public_id)
    real = office.senders["webhook"]

    class Meanwhile:
        def send(self, parcel: Any) -> str:
            services.edit_channel(
                actor=admin, channel_id=channel.public_id, target="https://other.example.org/"
            )
            return real.send(parcel)

    office.senders["webhook"] = Meanwhile()
    assert office.step(Delivery.objects.get()).state == "delivered"
    assert Channel.objects.get().verified_at is None


def test_what_waits_for_a_disabled_channel_is_given_up(office: Office, web: WebReceiver):
    channel = a_channel(web.url, disabled_at=datetime.now(UTC))
    sent = office.step(a_delivery(channel))
    assert (sent.state, sent.problem) == ("dead", "The channel the channel is disabled.")
    assert not web.received


def test_a_server_with_another_key_says_what_to_do(
    office: Office, web: WebReceiver, settings: Any
):
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another" * 10
    sent = a_delivery(a_channel_sealed_with(web.url, old, settings))
    sent = office.step(sent)
    assert sent.state == "dead"
    assert "MODELYARD_SECRET_KEY has changed" in sent.remedy
    settings.SECRET_KEY_FALLBACKS = [old]
    services.replay(actor=factories.actor_with("admin"), delivery_id=sent.public_id)
    assert office.step(sent).state == "delivered"


def a_channel_sealed_with(url: str, key: str, settings: Any) -> Channel:
    new, settings.SECRET_KEY = settings.SECRET_KEY, key
    try:
        return a_channel(url)
    finally:
        settings.SECRET_KEY = new


def test_replaying_sends_it_again_under_its_own_id(office: Office, web: WebReceiver):
    web.says(404, 200)
    sent = office.step(a_delivery(a_channel(web.url)))
    assert sent.state == "dead"
    services.replay(actor=factories.actor_with("operator"), delivery_id=sent.public_id)
    sent = office.step(sent)
    assert (sent.state, sent.replays, sent.tries) == ("delivered", 1, 2)
    assert len({request.headers["Modelyard-Id"] for request in web.received}) == 1


# --- many workers -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_workers_hand_nothing_over_twice(office: Office, web: WebReceiver):
    channel = a_channel(web.url)
    sent = [a_delivery(channel) for _ in range(40)]
    barrier = Barrier(4)

    def work() -> None:
        try:
            barrier.wait()
            while loop.sweep(office.kind, now=lambda: office.now, limit=3):
                pass
        finally:
            connections.close_all()

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Delivery.objects.filter(state="delivered", tries=1).count() == 40
    came = [request.headers["Modelyard-Id"] for request in web.received]
    assert sorted(came) == sorted(row.public_id for row in sent)


@pytest.mark.django_db(transaction=True)
def test_only_one_worker_waits_for_strangers_and_slow_ones_do_not_hold_up_the_rest(
    office: Office, web: WebReceiver
):
    import time

    slow = a_channel(web.url.replace("/hook", "/slow"), name="slow")
    quick = a_channel(web.url, name="quick")
    release = Event()
    web.pause = lambda handler: handler.path.startswith("/slow") and release.wait(5)
    for channel in [slow] * 4 + [quick] * 20:
        a_delivery(channel)
    ran: list[int] = []

    def work() -> None:
        try:
            ran.append(loop.sweep_beside("delivery", office.kind, now=lambda: office.now))
        finally:
            connections.close_all()

    threads = [Thread(target=work) for _ in range(2)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    while Delivery.objects.filter(channel=quick, state="delivered").count() < 20:
        assert time.monotonic() - started < 5
        time.sleep(0.02)
    assert Delivery.objects.filter(channel=slow, state="delivered").count() == 0
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(ran) == [0, 24]
    assert Delivery.objects.filter(state="delivered").count() == 24


def test_nothing_due_costs_one_query(office: Office, django_assert_num_queries: Any):
    with django_assert_num_queries(1):
        assert loop.sweep_beside("delivery", office.kind, now=lambda: office.now) == 0


def test_claims_are_the_loops_own(office: Office, web: WebReceiver):
    a_delivery(a_channel(web.url))
    assert len(claim_due(Delivery, now=office.now, lease=timedelta(seconds=45))) == 1
    assert loop.sweep(office.kind, now=lambda: office.now) == 0
