"""Turn what a request carries, a session or a token, into an `Actor`.

Used by Django's middleware and by the plain ASGI applications beside Django (live events,
MLflow's door). Costs one query for a token, two for a session (the session, and its person with
all grants).
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from apps.accounts import selectors, services
from apps.accounts.models import Person
from controlplane.kernel.actor import ANONYMOUS, Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import ControlPlaneError, Denied


class IdentifiedRequest(HttpRequest):
    """What the middleware adds to a request.

    Attributes:
        actor: Who asks; anonymous when nobody could be made out.
        actor_error: Why a token that was sent is not good.
        by_token: Whether a token was sent, so that no anti-forgery token is needed.
    """

    actor: Actor
    actor_error: ControlPlaneError | None
    by_token: bool
    _cached_user: Any


def from_authorization(header: str, *, address: str = "") -> Actor:
    """Return whoever an Authorization `header` stands for.

    Args:
        header: "Bearer my_..."; or "Basic ...", whose password is the token and whose user name
            does not matter, for clients that know nothing else.
        address: Where the request came from, for the token's last use.

    Raises:
        Denied: The header is malformed, or its token is unknown, expired or revoked.
    """
    scheme, _, value = header.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            secret = value.strip()
        case "basic":
            secret = _password(value.strip())
        case _:
            raise Denied(
                f"The Authorization scheme {scheme[:20]!r} is not known.",
                remedy="Send `Authorization: Bearer my_...`.",
                code="token.malformed",
            )
    return by_token(secret, address=address)


def by_token(secret: str, *, address: str = "") -> Actor:
    """Return the actor of an API token.

    Raises:
        Denied: The token is unknown, expired or revoked, or its owner has left.
    """
    now = SystemClock().now()
    token = selectors.live_token(secret, now=now)
    services.note_use(token, address=address, now=now)
    return selectors.actor_of_token(token)


def by_session(session: Mapping[str, Any]) -> tuple[Actor, Person | None]:
    """Return the actor and the person of a session; anonymous where it is nobody's any more."""
    if not session.get(SESSION_KEY) or not session.get(BACKEND_SESSION_KEY):
        return ANONYMOUS, None
    person = selectors.person_with_grants(str(session[SESSION_KEY]))
    if person is None or not person.is_active:
        return ANONYMOUS, None
    # A changed password changes the hash, and with that ends every other session.
    known = str(session.get(HASH_SESSION_KEY, ""))
    if not constant_time_compare(known, person.get_session_auth_hash()):
        return ANONYMOUS, None
    return selectors.actor_of_person(person), person


async def from_scope(scope: Mapping[str, Any]) -> Actor:
    """Return whoever makes the request of an ASGI `scope`.

    Raises:
        Denied: It carries a token that is not valid.
    """
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope.get("headers", ())
    }
    client = scope.get("client")
    return await from_headers(headers, address=str(client[0]) if client else "")


async def from_headers(headers: Mapping[str, str], *, address: str = "") -> Actor:
    """Return whoever `headers` (names in lower case) stand for, from asynchronous code.

    Raises:
        Denied: They carry a token that is not valid.
    """
    if given := headers.get("authorization", ""):
        return await _in_thread(lambda: from_authorization(given, address=address))
    key = _session_key(headers.get("cookie", ""))
    if not key:
        return ANONYMOUS
    return await _in_thread(lambda: by_session(SessionStore(key).load())[0])


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Denied("The Authorization header is malformed.", code="token.malformed") from error


def _session_key(cookie: str) -> str:
    try:
        morsel = SimpleCookie(cookie).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


async def _in_thread(ask: Callable[[], Actor]) -> Actor:
    """Run `ask`, which reads the database, beside the event loop."""

    def asked() -> Actor:
        try:
            return ask()
        finally:
            # Outside Django's request cycle nobody else gives the connection back.
            connection.close()

    return await sync_to_async(asked, thread_sensitive=False)()
