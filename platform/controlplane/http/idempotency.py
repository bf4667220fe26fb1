"""A POST that may be sent twice and happens once, by its Idempotency-Key.

The work and the stored answer are committed together, under an advisory lock of PostgreSQL that
ends with the transaction. So a process that dies in the middle leaves nothing behind: neither the
work, nor a claim that would block the repetition.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from controlplane.http.models import StoredAnswer
from controlplane.http.permissions import actor_of
from controlplane.kernel import digests
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

KEPT = timedelta(hours=24)
KEPT_HEADERS = ("Content-Type", "ETag", "Location")
MAX_KEY = 255
REPLAYED = "Idempotency-Replayed"


class StillRunning(Conflict):
    """The first request with this key has not been answered yet."""

    code = "idempotency.still_running"


class KeyReused(Invalid):
    """The key came before, with another request."""

    code = "idempotency.key_reused"


def once(
    request: HttpRequest,
    work: Callable[[], HttpResponseBase],
    *,
    shown_once: Iterable[str] = (),
) -> HttpResponseBase:
    """Answer `request` by `work`, or as it was answered before.

    Only answers below 400 are kept: a refusal changed nothing, and may be mended and sent again.

    Args:
        request: A request with an `Idempotency-Key`.
        work: Makes the answer, rendered.
        shown_once: Names in the answer that are secrets; they are kept as null.

    Raises:
        Invalid: The key is empty or too long.
        KeyReused: The key came before, with another request.
        StillRunning: The first request with this key has not been answered yet.
    """
    key = _key_of(request)
    actor = actor_of(request)
    owner = f"{actor.kind}:{actor.name}"
    body_digest = digests.of_bytes(request.body)
    with transaction.atomic():
        if not _lock(owner, key):
            raise StillRunning(
                "The first request with this Idempotency-Key is still running.",
                remedy="Wait a second and send it again with the same key.",
            )
        now = SystemClock().now()
        stored = StoredAnswer.objects.filter(
            actor=owner, key_hash=_hash(key), expires_at__gt=now
        ).first()
        if stored is not None:
            return _again(stored, request, body_digest)
        response = work()
        if response.status_code < 400 and isinstance(response, HttpResponse):
            _store(response, request, owner, key, body_digest, now, frozenset(shown_once))
        return response


def forget_expired(now: datetime) -> int:
    """Drop the answers whose time has passed, and return how many there were."""
    return StoredAnswer.objects.filter(expires_at__lte=now).delete()[0]


def _key_of(request: HttpRequest) -> str:
    key = request.headers.get("Idempotency-Key", "").strip()
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise Invalid(
            f"The Idempotency-Key must have 1 to {MAX_KEY} printable characters.",
            remedy="Send a fresh UUID for each new request.",
            field="Idempotency-Key",
            code="idempotency.bad_key",
        )
    return key


def _lock(owner: str, key: str) -> bool:
    """Take the lock of this key until the transaction ends; return whether it was free."""
    seed = hashlib.sha256(f"idempotency\n{owner}\n{key}".encode()).digest()[:8]
    with connection.cursor() as cursor:
        number = int.from_bytes(seed, "big", signed=True)
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        row = cursor.fetchone()
    return bool(row and row[0])


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _address(request: HttpRequest) -> str:
    return f"{request.method} {request.get_full_path()}"[:500]


def _again(stored: StoredAnswer, request: HttpRequest, body_digest: str) -> HttpResponse:
    if (stored.request, stored.body_digest) != (_address(request), body_digest):
        raise KeyReused(
            "This Idempotency-Key came before, with another request.",
            remedy="Use a fresh key for each new request.",
            field="Idempotency-Key",
        )
    response = HttpResponse(bytes(stored.body), status=stored.status, headers=stored.headers)
    response[REPLAYED] = "true"
    return response


def _store(
    response: HttpResponse,
    request: HttpRequest,
    owner: str,
    key: str,
    body_digest: str,
    now: datetime,
    shown_once: frozenset[str],
) -> None:
    StoredAnswer.objects.update_or_create(
        actor=owner,
        key_hash=_hash(key),
        defaults={
            "request": _address(request),
            "body_digest": body_digest,
            "status": response.status_code,
            "headers": {n: response[n] for n in KEPT_HEADERS if response.has_header(n)},
            "body": _without(response.content, shown_once),
            "created_at": now,
            "expires_at": now + KEPT,
        },
    )


def _without(body: bytes, names: frozenset[str]) -> bytes:
    """Return a JSON `body` with the values of `names` replaced by null, at any depth."""
    if not names or not body:
        return body

    def blank(value: Any) -> Any:
        if isinstance(value, dict):
            return {n: None if n in names else blank(v) for n, v in value.items()}
        return [blank(v) for v in value] if isinstance(value, list) else value

    return json.dumps(blank(json.loads(body))).encode()
