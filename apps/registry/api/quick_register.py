"""Registering a finished upload, the request that every training pipeline ends with.

Registrations of one model that come while another is being written wait for each other, and are
then written by one transaction (`services.register_together`). As with the quick reads there are
no refusals here: whatever is not certain to be answered 201 goes on to Django, with its body.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import orjson
import psycopg
import structlog
from asgiref.sync import sync_to_async
from django.db import close_old_connections
from psycopg_pool import PoolTimeout
from rest_framework.exceptions import ParseError

from apps.registry import services
from apps.registry.api import beside, shown
from apps.registry.api.serializers import RegisterVersion, details_of
from apps.registry.domain.details import Details
from apps.registry.models import ModelVersion
from apps.registry.services import Candidate
from controlplane.http import etags
from controlplane.http.api import strict_json
from controlplane.http.asgi import Application, Receive, Scope, Send
from controlplane.kernel.errors import ControlPlaneError

log = structlog.get_logger(__name__)

ADDRESS = re.compile(r"/api/v1/models/(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,127})/versions")
LARGEST = 64 * 1024  # bytes of a body that is read here
GATHERING = 0.003  # seconds; whoever was just answered asks again in less
MOST = 50  # versions by one transaction: others wait for its end
DJANGO_ONLY = ("idempotency-key", "content-encoding", "transfer-encoding", "expect")
Waiting = tuple[Candidate, "asyncio.Future[ModelVersion | None]"]


class QuickRegister:
    """Registers what it can, and hands everything else on."""

    def __init__(self, otherwise: Application) -> None:
        """Stand before `otherwise`."""
        self.otherwise = otherwise
        self.gathered: WeakKeyDictionary[Any, Gathered] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        headers = _headers(scope)
        if headers is None:
            await self.otherwise(scope, receive, send)
            return
        model = str(scope["path"]).split("/")[4]
        body, receive = await _read(receive)
        request_id = beside.request_id(headers)
        version = await self._register(model, body, headers["secret"], request_id)
        if version is None:
            await self.otherwise(scope, receive, send)
            return
        await _send(send, model, version, request_id)

    async def _register(
        self, model: str, body: bytes, secret: str, request_id: str
    ) -> ModelVersion | None:
        try:
            said = _said(body)
            async with await beside.connection() as connection:
                actor = await beside.actor_of(connection, secret)
        except (ParseError, ControlPlaneError):
            return None
        except (psycopg.Error, PoolTimeout, OSError) as error:
            log.warning("quick_register.failed", problem=str(error).strip())
            return None
        if said is None or actor is None:
            return None
        upload, details = said
        loop = asyncio.get_running_loop()
        gathered = self.gathered.setdefault(loop, Gathered())
        return await gathered.register(model, Candidate(actor, upload, details, request_id))


class Gathered:
    """The registrations of one event loop, by model."""

    def __init__(self) -> None:
        """Begin with none."""
        self.waiting: defaultdict[str, list[Waiting]] = defaultdict(list)
        self.writing: dict[str, asyncio.Task[None]] = {}

    async def register(self, model: str, candidate: Candidate) -> ModelVersion | None:
        """Return the version; None when the candidate must be registered alone."""
        future: asyncio.Future[ModelVersion | None] = asyncio.get_running_loop().create_future()
        self.waiting[model].append((candidate, future))
        if model not in self.writing:
            self.writing[model] = asyncio.create_task(self._write(model))
        return await future

    async def _write(self, model: str) -> None:
        """Write whatever waits, all of it at once, until nothing does."""
        try:
            while await asyncio.sleep(GATHERING, self.waiting[model]):
                now = self.waiting.pop(model)
                together, later = now[:MOST], now[MOST:]
                if later:
                    self.waiting[model] = later
                versions = await _together(model, [candidate for candidate, _ in together])
                for (_, future), version in zip(together, versions, strict=True):
                    if not future.done():  # its client has hung up
                        future.set_result(version)
        finally:
            self.waiting.pop(model, None)
            del self.writing[model]


async def _together(model: str, candidates: list[Candidate]) -> list[ModelVersion | None]:
    def write() -> list[ModelVersion | None]:
        try:
            return services.register_together(model=model, candidates=candidates)
        finally:
            # Outside Django's request cycle nobody else gives the connection back.
            close_old_connections()

    try:
        return await sync_to_async(write, thread_sensitive=False)()
    except Exception as error:
        # Registered one by one, each is answered for itself; what was written is found again.
        log.warning("quick_register.failed", problem=str(error).strip())
        return [None] * len(candidates)


def _headers(scope: Scope) -> dict[str, str] | None:
    """Return the headers of a request that may be answered here."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope.get("query_string"):
        return None
    if ADDRESS.fullmatch(str(scope["path"])) is None:
        return None
    headers = beside.plain_headers(scope)
    if headers is None or any(name in headers for name in DJANGO_ONLY):
        return None
    length = headers.get("content-length", "")
    small = length.isascii() and length.isdigit() and 0 < int(length[:9]) <= LARGEST
    return headers if small and headers.get("content-type") == "application/json" else None


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """Return the body, and what gives the same messages once more."""
    heard: list[MutableMapping[str, Any]] = []
    more = True
    while more:
        message = await receive()
        heard.append(message)
        more = message["type"] == "http.request" and bool(message.get("more_body"))
    body = b"".join(message.get("body", b"") for message in heard)
    messages = iter(heard)

    async def again() -> MutableMapping[str, Any]:
        return next(messages, None) or await receive()

    return body, again


def _said(body: bytes) -> tuple[str, Details] | None:
    """Return the upload and what is said about it; None for what only Django understands."""
    given = strict_json(body)
    if not isinstance(given, dict) or not isinstance(given.get("upload"), str):
        return None
    if given.keys() == {"upload"}:
        return given["upload"], Details()
    checked = RegisterVersion(data=given)
    if not checked.is_valid():
        return None
    return checked.validated_data["upload"], details_of(checked.validated_data)


async def _send(send: Send, model: str, version: ModelVersion, request_id: str) -> None:
    data = shown.version(version, model=model, aliases=[])
    body = orjson.dumps(data)
    headers = [
        *beside.HEADERS,
        (b"allow", b"GET, POST, HEAD, OPTIONS"),
        (b"x-request-id", request_id.encode()),
        (b"location", f"/api/v1/models/{model}/versions/{version.number}".encode()),
        (b"etag", etags.tag_of(version, data).encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})
