"""Deliveries by mail, to a server that really listens."""

import pytest

from controlplane.drivers.notices import mail
from tests import factories
from tests.integration.notifications.conftest import PUBLIC_URL, Office, a_channel, a_delivery
from tests.receivers import MailReceiver, web_receiver

pytestmark = pytest.mark.django_db


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
