"""Whom we do not speak to: our own machine and network, and who is not whom they say."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.drivers.notices import places, webhook
from tests.integration.notifications.conftest import Office, a_channel, a_delivery
from tests.receivers import WebReceiver, web_receiver

pytestmark = pytest.mark.django_db


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
