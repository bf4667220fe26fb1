"""What the registry's quick answers share: who asks, connections, and the headers of an answer.

Such an application stands before Django, answers what is certain, and hands everything else on.
See docs/decisions/0008-quick-reads.md.
"""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import orjson
import psycopg
from django.conf import settings
from django.db import connections
from django.http.request import split_domain_port, validate_host
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool

from apps.accounts import selectors as accounts
from apps.accounts.domain import secrets
from apps.accounts.services.tokens import USE_NOTED_EVERY
from controlplane.http.asgi import Scope
from controlplane.http.middleware import CLEAN, CONTENT_POLICY
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock

CONNECTIONS = 4
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
TOKEN = """
SELECT t.id, t.name, t.scopes, t.owner_id, t.expires_at, t.revoked_at, t.last_used_at,
       p.username, p.is_active,
       ARRAY(SELECT jsonb_build_object('role', g.role, 'team', m.slug,
                                       'environment', g.environment)
             FROM accounts_rolegrant g LEFT JOIN accounts_team m ON m.id = g.team_id
             WHERE g.person_id = t.owner_id) AS granted
FROM accounts_apitoken t JOIN accounts_person p ON p.id = t.owner_id
WHERE t.secret_hash = %s
"""  # noqa: S105

# A pool belongs to the event loop that it was opened in.
_pools: WeakKeyDictionary[Any, "AsyncConnectionPool[Any]"] = WeakKeyDictionary()


async def connection() -> AbstractAsyncContextManager[Any]:
    """Return a connection of this event loop's, for the length of a block."""
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = _new_pool()
        await pool.open()
    return pool.connection(timeout=2)


async def close() -> None:
    """Close this event loop's connections."""
    pool = _pools.pop(asyncio.get_running_loop(), None)
    if pool is not None:
        await pool.close()


def plain_headers(scope: Scope) -> dict[str, str] | None:
    """Return the headers by name, and the token as "secret"; None where only Django may answer.

    That is: another form than JSON is wanted, there is no token of ours, or the host is not ours.
    """
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
    secret = headers.get("authorization", "").removeprefix("Bearer ")
    wants_json = headers.get("accept", "*/*") in ("*/*", "application/json")
    if not wants_json or not secrets.is_token(secret) or not _is_ours(headers.get("host", "")):
        return None
    return {**headers, "secret": secret}


async def actor_of(connection: Any, secret: str) -> Actor | None:
    """Return the actor of a good token whose use was noted lately; None leaves it to Django."""
    row = await (await connection.execute(TOKEN, (secrets.hash_of(secret),))).fetchone()
    now = SystemClock().now()
    if row is None or row.revoked_at is not None or not row.is_active:
        return None
    if row.expires_at is not None and row.expires_at <= now:
        return None
    if row.last_used_at is None or now - row.last_used_at >= USE_NOTED_EVERY:
        return None  # Django notes its use: exactly from here on, so this is one request a minute
    return accounts.actor_of_token(
        accounts.LiveToken(
            row.id, row.name, row.owner_id, row.username, row.scopes, row.last_used_at, row.granted
        )
    )


def request_id(headers: Mapping[str, str]) -> str:
    """Return the request's id: the caller's where that is sane, else a new one."""
    return CLEAN.sub("", headers.get("x-request-id", ""))[:64] or uuid.uuid4().hex


@lru_cache(maxsize=64)
def _is_ours(host: str) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _new_pool() -> "AsyncConnectionPool[Any]":
    parameters = connections["default"].get_connection_params()
    named = {k: v for k, v in parameters.items() if k not in ("cursor_factory", "context")}
    named |= {"autocommit": True, "row_factory": namedtuple_row, "options": "-c timezone=UTC"}
    return AsyncConnectionPool(
        kwargs=named, min_size=1, max_size=CONNECTIONS, open=False, configure=_configure
    )


async def _configure(connection: "psycopg.AsyncConnection[Any]") -> None:
    set_json_loads(orjson.loads, connection)
