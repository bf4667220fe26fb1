"""Our own webhook: a CloudEvent, signed, posted to an address that somebody named.

The signature covers the time and the very bytes of the body, so that a receiver can tell that
the message is ours, whole, and not an old one sent again. docs/notifications.md says how.
"""

import hashlib
import hmac
import ssl
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import httpx
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from apps.notifications.ports import Parcel
from controlplane.drivers.notices import answers, places
from controlplane.kernel.errors import Transient

PATIENCE = httpx.Timeout(8.0, connect=4.0)  # for each read and write
LONGEST = 15.0  # seconds for the whole of it: a receiver may not answer drop by drop
WORDS = 200  # characters of the answer that are kept


@dataclass(frozen=True)
class WebhookSender:
    """Implements `apps.notifications.ports.Sender`.

    Attributes:
        source: How browsers reach us: the event's source.
        private: Whether the own machine and network may be spoken to.
    """

    source: str
    private: bool = False

    def send(self, parcel: Parcel) -> str:
        """Implement `Sender.send`."""
        body = event(parcel, source=self.source)
        named = httpx.URL(parcel.target)
        request = httpx.Request(
            "POST",
            self._by_number(named),
            content=body,
            headers={**signed(body, parcel), "Host": named.netloc.decode("ascii")},
            extensions={"sni_hostname": named.host, "timeout": PATIENCE.as_dict()},
        )
        try:
            verify = _trusted() if named.scheme == "https" else False
            with httpx.Client(trust_env=False, verify=verify) as client:
                return _answer_of(client, request)
        except httpx.TimeoutException as error:
            raise _late() from error
        except httpx.HTTPError as error:
            raise Transient(
                f"{named.host} cannot be reached: {error}.",
                remedy="It is tried again by itself; check that the receiver runs.",
                code="notice.unreachable",
            ) from error

    def _by_number(self, url: httpx.URL) -> httpx.URL:
        """Return the address by number, so that nothing looks the name up a second time."""
        port = url.port or (443 if url.scheme == "https" else 80)
        return url.copy_with(host=places.resolve(url.host, port, private=self.private))


@cache
def _trusted() -> ssl.SSLContext:
    """Return whom this machine trusts, read once: reading costs a tenth of a second each time."""
    return ssl.create_default_context()


def event(parcel: Parcel, *, source: str) -> bytes:
    """Return the body: a CloudEvent in its JSON form."""
    message = parcel.message
    made = CloudEvent(
        attributes={
            "id": parcel.id,
            "source": source,
            "type": f"modelyard.{message.kind}",
            "subject": message.link,
            "time": datetime.fromisoformat(message.at),
            "datacontenttype": "application/json",
        },
        data={
            "kind": message.kind,
            "title": message.title,
            "body": message.body,
            "url": parcel.url,
            "urgent": message.urgent,
        },
    )
    return JSONFormat().write(made)


def signed(body: bytes, parcel: Parcel) -> dict[str, str]:
    """Return the headers that say whose message it is, which, and when it was sent."""
    timestamp = str(int(parcel.at.timestamp()))
    return {
        "Content-Type": JSONFormat.CONTENT_TYPE + "; charset=utf-8",
        "User-Agent": "modelyard",
        "Modelyard-Id": parcel.id,
        "Modelyard-Attempt": str(parcel.attempt),
        "Modelyard-Timestamp": timestamp,
        "Modelyard-Signature": f"v1={signature(body, timestamp=timestamp, secret=parcel.secret)}",
    }


def signature(body: bytes, *, timestamp: str, secret: str) -> str:
    """Return HMAC-SHA256 over "timestamp.body", in hexadecimal."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _answer_of(client: httpx.Client, request: httpx.Request) -> str:
    until = time.monotonic() + LONGEST
    answer = client.send(request, stream=True)
    try:
        words = _words(answer, until)
    finally:
        answer.close()
    if answer.is_success:
        return f"{answer.status_code} {words}".strip()
    raise answers.fault(answer.status_code, words, answer.headers)


def _words(answer: httpx.Response, until: float) -> str:
    """Return the beginning of what the receiver said, on one line."""
    said = b""
    for chunk in answer.iter_bytes():
        said += chunk
        if len(said) >= 4 * WORDS:
            break
        if time.monotonic() > until:
            raise _late()
    text = said.decode("utf-8", "replace").replace("\x00", "")
    return " ".join(text.split())[:WORDS]


def _late() -> Transient:
    return Transient(
        "The receiver did not answer in time.",
        remedy="It is tried again by itself; have the receiver answer before it works.",
        code="notice.timeout",
    )
