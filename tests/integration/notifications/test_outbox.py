"""Deliveries over real senders, to receivers that really listen."""

import json
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.db import connections

from apps.notifications import services
from apps.notifications.domain import addresses
from apps.notifications.domain.pauses import PAUSES
from apps.notifications.models import Channel, Delivery, Notification
from apps.notifications.reconcile import DeliveryReconciler
from controlplane.db.reconcile import claim_due, claim_one
from controlplane.drivers.notices import mail, places, webhook
from tests import factories
from tests.integration.notifications.conftest import (
    PUBLIC_URL,
    SECRET,
    Office,
    a_channel,
    a_delivery,
)
from tests.receivers import MailReceiver, WebReceiver, web_receiver
from workers import loop

pytestmark = pytest.mark.django_db


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


# --- webhooks ---------------------------------------------------------------------------------


def test_a_receiver_that_fails_once_gets_the_message_later(office: Office, web: WebReceiver):
    web.says(500, 200)
    sent = office.step(a_delivery(a_channel(web.url)))
    assert (sent.state, sent.tries, sent.attempts) == ("pending", 1, 1)
    assert sent.problem == "The receiver answered 500: thanks"
    assert timedelta(seconds=3) < sent.next_reconcile_at - office.now < timedelta(seconds=7)
    sent = office.step(sent)
    assert (sent.state, sent.tries, sent.problem) == ("delivered", 2, "")
    assert sent.receipt == "200 thanks"
    assert sent.next_reconcile_at is None
    first, second = web.received
    assert first.headers["Modelyard-Id"] == second.headers["Modelyard-Id"] == sent.public_id
    assert [r.headers["Modelyard-Attempt"] for r in (first, second)] == ["1", "2"]


def test_the_body_is_a_cloud_event(office: Office, web: WebReceiver):
    sent = office.step(a_delivery(a_channel(web.url)))
    [request] = web.received
    assert request.path == "/hook?key=s3cret"
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    event = json.loads(request.body)
    assert event == {
        "specversion": "1.0",
        "id": sent.public_id,
        "source": PUBLIC_URL,
        "type": "modelyard.release.waits_for_you",
        "subject": "/releases/12",
        "time": event["time"],
        "datacontenttype": "application/json",
        "data": {
            "kind": "release.waits_for_you",
            "title": "fraud-score v3 waits for you",
            "body": "Ada proposed it.",
            "url": f"{PUBLIC_URL}/releases/12",
            "urgent": False,
        },
    }


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302, 307])
def test_a_refusal_makes_a_dead_letter_at_once(office: Office, web: WebReceiver, status: int):
    web.says(status, location=f"http://127.0.0.1:{web.port}/elsewhere")
    sent = office.step(a_delivery(a_channel(web.url)))
    assert (sent.state, sent.next_reconcile_at) == ("dead", None)
    assert str(status) in sent.problem
    assert sent.remedy
    assert len(web.received) == 1  # a redirect is not followed


def test_a_receiver_may_ask_for_patience(office: Office, web: WebReceiver):
    web.says(429, retry_after="600")
    sent = office.step(a_delivery(a_channel(web.url)))
    assert sent.state == "pending"
    assert sent.next_reconcile_at - office.now == timedelta(seconds=600)


def test_pauses_grow_until_it_is_given_up_and_the_owner_is_told(office: Office, web: WebReceiver):
    web.says(503)
    team, ada = factories.team(), factories.person()
    factories.grant(person=ada, team=team)
    channel = a_channel(web.url, team=team, verified_at=datetime.now(UTC))
    sent, pauses = a_delivery(channel), []
    while sent.state == "pending":
        sent = office.step(sent)
        if sent.next_reconcile_at:
            pauses.append(sent.next_reconcile_at - office.now)
    assert sent.state == "dead"
    assert sent.tries == len(web.received) == len(PAUSES) + 1
    assert pauses == sorted(pauses)
    assert sum(pauses, timedelta()) > timedelta(hours=12)
    told = Notification.objects.get(person=ada)
    assert (told.kind, told.link) == ("channel.broken", "/deliveries?state=dead")
    assert Channel.objects.get().verified_at is None
    assert Delivery.objects.filter(channel=channel).count() == 1  # the channel is not told


def test_nobody_listens(office: Office, web: WebReceiver):
    with web_receiver() as gone:
        url = gone.url
    sent = office.step(a_delivery(a_channel(url)))
    assert sent.state == "pending"
    assert "cannot be reached" in sent.problem


def test_a_receiver_that_never_ends_its_answer_is_left(
    office: Office, web: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhook, "LONGEST", 0.3)

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        import time

        for _ in range(12):
            handler.wfile.write(b".")
            handler.wfile.flush()
            time.sleep(0.1)

    web.pause = drip
    started = datetime.now(UTC)
    sent = office.step(a_delivery(a_channel(web.url)))
    assert datetime.now(UTC) - started < timedelta(seconds=1)
    assert sent.problem == "The receiver did not answer in time."


# --- whom we do not speak to ------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "10.0.0.1",
                                  "169.254.169.254", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
                                  "2130706433", "0x7f.1"])  # fmt: skip
@pytest.mark.parametrize("transport", ["webhook", "apprise"])
def test_the_own_machine_and_network_are_closed(transport: str, host: str, web: WebReceiver):
    scheme = "http" if transport == "webhook" else "json"
    channel = a_channel(f"{scheme}://{host}:{web.port}/x", transport=transport)
    sent = Office(private=False).step(a_delivery(channel))
    assert sent.state == "dead"
    # Apprise itself refuses two of these spellings.
    unread = "Apprise cannot read the address"
    assert "this machine or its network" in sent.problem or sent.problem.startswith(unread)
    assert not web.received


def test_a_redirect_from_outside_does_not_lead_inside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "is_public", lambda address: address == "127.0.0.1")
    with web_receiver() as outside, web_receiver("127.0.0.2") as inside:
        outside.says(307, location=f"http://127.0.0.2:{inside.port}/secret")
        channel = a_channel(f"json://127.0.0.1:{outside.port}/x", transport="apprise")
        sent = Office(private=False).step(a_delivery(channel))
    assert len(outside.received) == 1
    assert not inside.received
    assert (sent.state, "127.0.0.2" in sent.problem) == ("dead", True)


def test_a_name_is_looked_up_once_so_that_it_cannot_mean_another_machine_later(
    web: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    original = places.socket.getaddrinfo

    def rebinding(host: str, *rest: Any, **options: Any) -> Any:
        asked.append(host)
        return original("127.0.0.1" if host == "hook.example.org" else host, *rest, **options)

    monkeypatch.setattr(places.socket, "getaddrinfo", rebinding)
    sent = Office().step(a_delivery(a_channel(f"http://hook.example.org:{web.port}/x")))
    assert sent.state == "delivered"
    assert asked.count("hook.example.org") == 1
    assert web.received[0].headers["Host"] == f"hook.example.org:{web.port}"


@pytest.mark.parametrize(
    ("name", "state"), [("hook.example.org", "delivered"), ("other.example.org", "pending")]
)
def test_a_certificate_is_held_to_the_name_though_we_connect_to_a_number(
    name: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key, certificate = a_certificate(tmp_path, "hook.example.org")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(webhook, "_trusted", lambda: trusting)
    monkeypatch.setattr(places, "resolve", lambda host, port, private: "127.0.0.1")
    with web_receiver(tls=server) as receiver:
        channel = a_channel(f"https://{name}:{receiver.port}/x")
        sent = Office().step(a_delivery(channel))
    assert sent.state == state
    assert len(receiver.received) == (state == "delivered")
    assert ("certificate" in sent.problem) == (state == "pending")


def a_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a key and of a certificate that it signed for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    files = folder / "key.pem", folder / "certificate.pem"
    plain = NoEncryption()
    files[0].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain))
    files[1].write_bytes(signed.public_bytes(Encoding.PEM))
    return files


# --- mail -------------------------------------------------------------------------------------


def test_a_mail_arrives(office: Office, post: MailReceiver):
    ada = factories.person(username="ada")
    said = {"title": "Ümläute: fraud-score v3 waits", "urgent": True}
    sent = office.step(a_delivery(person=ada, address="ada@example.org", payload=said))
    assert sent.state == "delivered"
    [mail] = post.received
    assert mail["To"] == "ada@example.org"
    assert mail["From"] == "Modelyard <yard@example.org>"
    assert mail["Subject"] == "[urgent] Ümläute: fraud-score v3 waits"
    assert mail["Message-ID"] == f"<{sent.public_id}@example.org>"
    words = mail.get_content()
    assert f"{PUBLIC_URL}/releases/12" in words
    assert f"{PUBLIC_URL}/settings/notifications" in words


def test_a_mail_server_that_is_busy_is_asked_again(office: Office, post: MailReceiver):
    post.answers = ["451 4.7.1 Greylisted"]
    sent = office.step(a_delivery(a_channel("team@example.org", transport="mail")))
    assert sent.state == "pending"
    assert "451" in sent.problem
    assert office.step(sent).state == "delivered"
    assert len(post.received) == 1


def test_an_address_that_the_mail_server_refuses_makes_a_dead_letter(
    office: Office, post: MailReceiver
):
    post.answers = ["550 5.1.1 No such user"]
    sent = office.step(a_delivery(a_channel("nobody@example.org", transport="mail")))
    assert (sent.state, "550" in sent.problem) == ("dead", True)


def test_a_mail_server_that_is_not_there_is_asked_again(post: MailReceiver):
    with web_receiver() as gone:
        nowhere = f"smtp://127.0.0.1:{gone.port}"
    sent = Office(nowhere).step(a_delivery(a_channel("team@example.org", transport="mail")))
    assert sent.state == "pending"
    assert "does not answer" in sent.problem


def test_without_a_mail_server_it_says_so():
    sent = Office("").step(a_delivery(a_channel("team@example.org", transport="mail")))
    assert sent.state == "dead"
    assert sent.problem == "No mail server is set, so nothing can be sent by mail."
    assert "SMTP_URL" in sent.remedy


def test_a_password_is_not_said_in_the_clear(post: MailReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mail, "HERE", frozenset())  # as if the server were another machine
    office = Office(post.url.replace("smtp://", "smtp://ada:s3cret@"))
    sent = office.step(a_delivery(a_channel("team@example.org", transport="mail")))
    assert sent.state == "dead"
    assert "in the clear" in sent.problem
    assert "s3cret" not in sent.problem + sent.remedy


# --- Apprise ----------------------------------------------------------------------------------


def test_apprise_carries_a_message(office: Office, web: WebReceiver):
    channel = a_channel(f"json://127.0.0.1:{web.port}/x", transport="apprise")
    sent = office.step(a_delivery(channel, payload={"urgent": True}))
    assert (sent.state, sent.receipt) == ("delivered", "taken by JSON")
    said = json.loads(web.received[0].body)
    assert said["title"] == "fraud-score v3 waits for you"
    assert f"{PUBLIC_URL}/releases/12" in said["message"]
    assert said["type"] == "failure"


@pytest.mark.parametrize(("status", "state"), [(503, "pending"), (403, "dead")])
def test_what_apprise_was_answered_is_kept(
    office: Office, web: WebReceiver, status: int, state: str
):
    web.says(status)
    channel = a_channel(f"json://127.0.0.1:{web.port}/x", transport="apprise")
    sent = office.step(a_delivery(channel))
    assert sent.state == state
    assert f"The receiver answered {status}" in sent.problem


# --- what may happen in between ---------------------------------------------------------------


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


# --- the daily mail, and tidying --------------------------------------------------------------


def told(person: Any, number: int, **columns: Any) -> Notification:
    return Notification.objects.create(
        person=person, kind="release.live", title=f"thing {number}", link=f"/releases/{number}",
        **columns,
    )  # fmt: skip


def test_a_daily_mail_collects_what_happened(office: Office, post: MailReceiver, settings: Any):
    settings.PUBLIC_URL = PUBLIC_URL
    ada = factories.person()
    ada.email = "ada@example.org"
    ada.save()
    past, future = office.now - timedelta(minutes=1), office.now + timedelta(days=1)
    for number in (1, 2):
        told(ada, number, digest_at=past)
    told(ada, 3, digest_at=future)
    assert services.send_digests(now=office.now) == 1
    assert services.send_digests(now=office.now) == 0
    assert office.step(Delivery.objects.get()).state == "delivered"
    [mail] = post.received
    assert mail["Subject"] == "2 things to know"
    words = mail.get_content().replace("\r\n", "\n")
    assert f"thing 1\n  {PUBLIC_URL}/releases/1" in words
    assert "thing 3" not in words


def test_what_was_read_meanwhile_is_not_mailed(office: Office):
    ada = factories.person(role="viewer")
    row = told(ada, 1, digest_at=office.now)
    services.mark_read(actor=factories.actor_of(ada), notification_id=row.public_id)
    assert services.send_digests(now=office.now) == 0
    assert not Delivery.objects.exists()


def test_old_things_are_dropped(office: Office):
    ada = factories.person()
    for number, columns in enumerate(
        [{}, {"read_at": office.now - timedelta(days=91)}, {"read_at": office.now}]
    ):
        told(ada, number, **columns)
    long_ago = told(ada, 9)
    Notification.objects.filter(pk=long_ago.pk).update(created_at=office.now - timedelta(days=181))
    channel = a_channel("https://x.example.org/")
    for state, days in {("delivered", 31), ("delivered", 1), ("dead", 31), ("dead", 91),
                        ("pending", 400)}:  # fmt: skip
        row = a_delivery(channel, state=state)
        Delivery.objects.filter(pk=row.pk).update(changed_at=office.now - timedelta(days=days))
    services.tidy(now=office.now)
    assert sorted(Notification.objects.values_list("title", flat=True)) == ["thing 0", "thing 2"]
    assert sorted(Delivery.objects.values_list("state", flat=True)) == [
        "dead", "delivered", "pending",
    ]  # fmt: skip


def test_claims_are_the_loops_own(office: Office, web: WebReceiver):
    a_delivery(a_channel(web.url))
    assert len(claim_due(Delivery, now=office.now, lease=timedelta(seconds=45))) == 1
    assert loop.sweep(office.kind, now=lambda: office.now) == 0


def test_a_receiver_verifies_as_the_documentation_says(office: Office, web: WebReceiver):
    page = Path("docs/notifications.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len([line for line in code.split("def ")[1].splitlines() if line]) <= 10
    said: dict[str, Any] = {}
    exec(code, said)
    verify = said["verify"]
    office.now = datetime.now(UTC)
    office.step(a_delivery(a_channel(web.url)))
    [request] = web.received
    headers, body = request.headers, request.body
    assert verify(SECRET, headers, body)
    assert not verify("another" + SECRET, headers, body)
    assert not verify(SECRET, headers, body.replace(b"fraud", b"fraub"))
    later = {**headers, "Modelyard-Timestamp": str(int(headers["Modelyard-Timestamp"]) + 1)}
    assert not verify(SECRET, later, body)
    assert not verify(SECRET, headers, body, tolerance=-1)  # as if it had come long ago


def test_the_documentation_names_every_service(office: Office):
    page = Path("docs/notifications.md").read_text()
    for scheme in addresses.HOSTED | addresses.SELF_HOSTED - addresses.PLAIN:
        assert scheme in page or f"{scheme[:-1]}(s)" in page, scheme
