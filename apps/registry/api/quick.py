"""The reads that programs repeat all day, answered without Django's request machinery.

A version, a model, and the first page of a model's versions, asked for with an API token.
Everything else passes on to Django: other addresses, other parameters, sessions, and whatever
would be refused. So there are no refusals here, no second set of rules: a request is answered
only when the answer is certain, and then byte for byte as the view would (a test compares
them). It saves the middleware, a thread and the compiling of SQL: about four fifths of the cost.
"""

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg
import structlog
from django.conf import settings
from psycopg_pool import PoolTimeout

from apps.accounts.domain import access
from apps.registry.api import beside, shown
from controlplane.http import etags, pagination
from controlplane.http.asgi import Application, Receive, Scope, Send
from controlplane.kernel.actor import Actor

log = structlog.get_logger(__name__)

ADDRESS = re.compile(
    r"/api/v1/models/(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,127})"
    r"(?P<versions>/versions(?:/(?P<number>[0-9]{1,9}))?)?"
)
LIMIT = re.compile(r"(?:limit=([1-9][0-9]{0,2}))?")
ORDER = [pagination.Column("number", True, True), pagination.Column("id", True, True)]
MODEL = """
SELECT m.*, t.slug AS team_slug,
       COALESCE((SELECT jsonb_object_agg(a.name, v.number ORDER BY a.name, a.id)
                 FROM registry_alias a JOIN registry_modelversion v ON v.id = a.version_id
                 WHERE a.model_id = m.id), '{}') AS aliases
FROM registry_registeredmodel m JOIN accounts_team t ON t.id = m.team_id
WHERE m.name = %s
"""
VERSION = """
SELECT v.*, m.name AS model_name, t.slug AS team_slug,
       ARRAY(SELECT a.name FROM registry_alias a
             WHERE a.version_id = v.id ORDER BY a.name, a.id) AS aliases
FROM registry_modelversion v
JOIN registry_registeredmodel m ON m.id = v.model_id
JOIN accounts_team t ON t.id = m.team_id
WHERE m.name = %s AND v.number = %s
"""
OWNER = """
SELECT m.id, t.slug AS team_slug
FROM registry_registeredmodel m JOIN accounts_team t ON t.id = m.team_id
WHERE m.name = %s
"""
VERSIONS = """
SELECT v.*, ARRAY(SELECT a.name FROM registry_alias a
                  WHERE a.version_id = v.id ORDER BY a.name, a.id) AS aliases
FROM registry_modelversion v
WHERE v.model_id = %s AND v.state <> 'archived'
ORDER BY v.number DESC, v.id DESC LIMIT %s
"""


class QuickReads:
    """Answers what it can, and hands everything else on."""

    def __init__(self, otherwise: Application) -> None:
        """Stand before `otherwise`."""
        self.otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        asked = _asked(scope)
        answer = None
        if asked is not None:
            try:
                async with await beside.connection() as connection:
                    answer = await _answer(connection, asked)
            except (psycopg.Error, PoolTimeout, OSError) as error:
                log.warning("quick_read.failed", problem=str(error).strip())
        if answer is None:
            await self.otherwise(scope, receive, send)
            return
        await _send(send, asked, answer)


class _Asked:
    """A request that may be answered quickly."""

    def __init__(self, scope: Scope, found: "re.Match[str]", headers: Mapping[str, str]) -> None:
        self.model, self.number = found["model"], found["number"]
        self.is_list = bool(found["versions"]) and self.number is None
        self.headers, self.path = headers, str(scope["path"])
        query = bytes(scope.get("query_string", b"")).decode("latin-1")
        limit = LIMIT.fullmatch(query)
        self.limit = int(limit[1] or pagination.DEFAULT_LIMIT) if limit else 0
        self.query, self.scheme = query, str(scope.get("scheme", "http"))

    def answerable(self) -> bool:
        """Return whether there is nothing about it that only Django understands."""
        if self.is_list:
            return 1 <= self.limit <= pagination.MAX_LIMIT
        return not self.query


class _Found:
    """What is answered: the body, and the row that its entity tag stands for."""

    def __init__(self, data: Any, row: Any = None) -> None:
        self.data, self.row = data, row


def _asked(scope: Scope) -> _Asked | None:
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    found = ADDRESS.fullmatch(str(scope["path"]))
    if found is None or found["model"] == "new":
        return None
    headers = beside.plain_headers(scope)
    if headers is None:
        return None
    asked = _Asked(scope, found, headers)
    return asked if asked.answerable() else None


async def _answer(connection: Any, asked: _Asked) -> _Found | None:
    actor = await beside.actor_of(connection, asked.headers["secret"])
    if actor is None:
        return None
    if asked.is_list:
        return await _list(connection, actor, asked)
    query, values = (VERSION, (asked.model, int(asked.number))) if asked.number else (
        MODEL, (asked.model,),
    )  # fmt: skip
    row = await (await connection.execute(query, values)).fetchone()
    if row is None or not access.allows(actor, "registry.read", team=row.team_slug):
        return None
    if asked.number:
        return _Found(shown.version(row, model=row.model_name, aliases=row.aliases), row)
    return _Found(shown.model(row, team=row.team_slug, aliases=_sorted(row.aliases)), row)


async def _list(connection: Any, actor: Actor, asked: _Asked) -> _Found | None:
    owner = await (await connection.execute(OWNER, (asked.model,))).fetchone()
    if owner is None or not access.allows(actor, "registry.read", team=owner.team_slug):
        return None
    rows = await (await connection.execute(VERSIONS, (owner.id, asked.limit + 1))).fetchall()
    body = {
        "next": _next(asked, rows),
        "previous": None,
        "results": [
            shown.version(row, model=asked.model, aliases=row.aliases)
            for row in rows[: asked.limit]
        ],
    }
    return _Found(body)


def _next(asked: _Asked, rows: Sequence[Any]) -> str | None:
    if len(rows) <= asked.limit:
        return None
    cursor = pagination.cursor_after(ORDER, rows[asked.limit - 1])
    kept = [("limit", str(asked.limit))] if asked.query else []
    address = f"{_scheme(asked)}://{asked.headers['host']}{asked.path}"
    return f"{address}?{urlencode([*kept, ('cursor', cursor)])}"


def _scheme(asked: _Asked) -> str:
    trusted = getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    if trusted:
        name = trusted[0].removeprefix("HTTP_").replace("_", "-").lower()
        return "https" if asked.headers.get(name, "").strip() == trusted[1] else asked.scheme
    return asked.scheme


def _sorted(aliases: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(aliases.items()))  # jsonb keeps an order of its own


async def _send(send: Send, asked: _Asked | None, found: _Found) -> None:
    headers = asked.headers if asked is not None else {}
    body = orjson.dumps(found.data)
    verbs = b"GET, POST, HEAD, OPTIONS" if found.row is None else b"GET, PATCH, HEAD, OPTIONS"
    listed = [*beside.HEADERS, (b"allow", verbs)]
    listed.append((b"x-request-id", beside.request_id(headers).encode()))
    status = 200
    if found.row is not None:
        stamp = SimpleNamespace(pk=found.row.id, changed_at=found.row.changed_at)
        tag = etags.tag_of(stamp, found.data)
        listed.append((b"etag", tag.encode()))
        if (known := headers.get("if-none-match", "")) and etags.unchanged(known, tag):
            status, body = 304, b""
    listed.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
