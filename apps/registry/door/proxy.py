"""MLflow behind our sign-in: `/mlflow/...` for its unmodified client and for its web pages.

A plain ASGI application beside Django, because both directions stream: gigabytes of artifacts
pass without lying in memory. Every request goes these steps:

1. The path, however encoded, stays inside; the host is ours.
2. The caller: a token (bearer, or the password of basic), or a session. A session's writes must
   come from our own pages, since browsers send cookies for anyone.
3. The route table says what it needs, or that it is closed.
4. Registry verbs are ours first (`verbs.perform`); all else is passed on without the caller's
   credentials, which are none of MLflow's business.

This is the one part of the web process that calls out: a proxy that wrote down what to do and
left it to a worker would be none. docs/decisions/0005-mlflow-behind-a-door.md has the reasons.
"""

import json
import weakref
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx
import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.http.request import split_domain_port, validate_host

from apps.accounts import identify
from apps.accounts.domain import access
from apps.registry import upstream
from apps.registry.door import answers, kept, verbs, visible
from apps.registry.door.answers import Answer
from apps.registry.door.routes import (
    ARTIFACT,
    PATHS_IN_QUERY,
    READING,
    UPLOADS,
    Route,
    Verb,
    absolute,
    leads_out,
    route,
)
from controlplane.http.asgi import Receive, Scope, Send
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import (
    ControlPlaneError,
    Denied,
    Invalid,
    Missing,
)

log = structlog.get_logger(__name__)

PREFIX = "/mlflow"
LARGEST_JSON = 4 * 1024 * 1024
TIMEOUT = httpx.Timeout(120.0, connect=3.0, pool=10.0)
LIMITS = httpx.Limits(max_connections=200, max_keepalive_connections=40, keepalive_expiry=30)
HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "trailers", "transfer-encoding", "upgrade", "proxy-connection",
    }
)  # fmt: skip
# The caller's credentials, and what MLflow's own cross-site check would trip over: ours is done.
NOT_PASSED_ON = HOP_BY_HOP | {
    "authorization", "cookie", "host", "origin", "referer", "expect", "forwarded",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix",
    "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest",
}  # fmt: skip
NOT_PASSED_BACK = HOP_BY_HOP | {
    "set-cookie", "server", "date", "content-security-policy", "x-frame-options",
    "access-control-allow-origin", "access-control-allow-credentials",
}  # fmt: skip
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; frame-src 'self' blob: data:; connect-src 'self' blob: data:; "
    "frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)
FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# Registry verbs may wait for the mirror; the event loop's own few threads tell who is asking.
PATIENT = ThreadPoolExecutor(16, thread_name_prefix="door")


class Gone(Exception):
    """The caller hung up while sending."""


@dataclass(frozen=True)
class Asked:
    """One request, as far as the door needs to know it.

    Attributes:
        path: Below /mlflow, with its leading slash, percent-encoded as it came.
        headers: Names in lower case.
        client: The caller's address.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    client: str
    scheme: str

    @property
    def plain(self) -> str:
        """The path as MLflow will read it."""
        return unquote(self.path)

    @property
    def by_session(self) -> bool:
        """Whether it can only be told by its cookie who sent it."""
        return "authorization" not in self.headers

    @property
    def for_a_page(self) -> bool:
        """Whether a person's browser asks for a page."""
        return self.method == "GET" and "text/html" in self.headers.get("accept", "")


async def mlflow_door(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request below /mlflow."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    if scope["type"] != "http":
        return
    asked = _asked(scope)
    actor: Actor | None = None
    try:
        if asked.path == "":
            await _answer(send, _elsewhere(f"{PREFIX}/"))
            return
        _refuse_unsafe(asked)
        actor = await identify.from_headers(asked.headers, address=asked.client)
        if actor.kind is ActorKind.ANONYMOUS and asked.for_a_page:
            here = PREFIX + asked.path + (f"?{asked.query}" if asked.query else "")
            await _answer(send, _elsewhere(f"{settings.LOGIN_URL}?next={quote(here, safe='')}"))
            return
        _refuse_forged(asked)
        await _serve(asked, actor, receive, send)
    except ControlPlaneError as error:
        await _answer(send, answers.refusal(error, actor))
    except Gone:
        log.info("door.caller_gone", path=asked.path)


async def _serve(asked: Asked, actor: Actor, receive: Receive, send: Send) -> None:
    found = route(asked.method, asked.path)
    if found.verb is Verb.CLOSED:
        access.require(actor, "mlflow.read")
        raise Denied(
            f"{asked.method} {PREFIX}{asked.path} is not open. {found.why}", code="mlflow.closed"
        )
    if not settings.MLFLOW_URL:
        await _answer(send, answers.down("none is set up: MLFLOW_URL is empty"))
        return
    if found.verb is not None:
        body = await _json(receive)
        perform = partial(_perform, found, asked, actor, body)
        await _answer(send, await _in_thread(perform, executor=PATIENT))
        return
    access.require(actor, found.access)
    await _guard(asked, actor)
    await _stream(asked, actor, receive, send)


def _perform(found: Route, asked: Asked, actor: Actor, body: dict[str, Any]) -> Answer:
    if found.verb is None:
        raise AssertionError(found)
    pass_on = partial(_pass_on, asked, body)
    return verbs.perform(found.verb, actor=actor, body=body, path=asked.plain, pass_on=pass_on)


def _pass_on(asked: Asked, body: dict[str, Any]) -> Answer:
    """Send a small JSON request on, and return the whole answer; runs in a thread."""
    headers = {**_headers_to_mlflow(asked), "content-type": "application/json"}
    headers.pop("content-length", None)
    headers.pop("accept-encoding", None)
    try:
        got = upstream.client().request(asked.method, _url(asked), headers=headers, json=body)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        return answers.down(type(error).__name__)
    return Answer(got.status_code, got.content, got.headers.get("content-type", ""))


async def _stream(asked: Asked, actor: Actor, receive: Receive, send: Send) -> None:
    """Pass a request on and its answer back, piece by piece."""
    client = _client()
    body = None if asked.method in ("GET", "HEAD") else _body(receive)
    request = client.build_request(
        asked.method, _url(asked), headers=_headers_to_mlflow(asked), content=body
    )
    try:
        got = await client.send(request, stream=True)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        log.warning("door.mlflow_down", problem=repr(error))
        await _answer(send, answers.down(type(error).__name__))
        return
    try:
        if visible.concerns(actor, asked.plain) and got.is_success:
            content = await got.aread()
            shown = await _in_thread(partial(visible.only, actor, content))
            await _answer(send, Answer(got.status_code, shown))
            return
        await send(
            {
                "type": "http.response.start",
                "status": got.status_code,
                "headers": list(_headers_back(asked, got)),
            }
        )
        async for chunk in got.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await got.aclose()


async def _guard(asked: Asked, actor: Actor) -> None:
    """Refuse what the table cannot know: other teams' models, and changed bytes."""
    if asked.method in READING:
        named = [v for k, v in parse_qsl(asked.query) if k == "name"]
        if visible.names_a_model(asked.plain):
            for name in named:
                await _in_thread(partial(_refuse_hidden, actor, name))
    elif path := _written_to(asked):
        size = asked.headers.get("content-length", "")
        if size.isdigit() and int(size) > settings.UPLOAD_LIMIT:
            raise Invalid(
                f"The file has {size} bytes; at most {settings.UPLOAD_LIMIT} are taken.",
                remedy="Log a smaller file, or raise MODELYARD_UPLOAD_LIMIT.",
                code="upload.too_large",
            )
        await _in_thread(partial(kept.refuse_changing, path))


def _written_to(asked: Asked) -> str:
    """Return the artifact that the request writes or deletes, below the root; "" for none."""
    if match := UPLOADS.fullmatch(asked.plain):
        return match["path"]
    if asked.plain.endswith("/upload-artifact"):
        given = dict(parse_qsl(asked.query))
        return f"run/{given.get('run_uuid', '')}/artifacts/{given.get('path', '')}"
    return ""


def _refuse_hidden(actor: Actor, name: str) -> None:
    if not visible.may_see(actor, name):
        raise Missing(
            f"There is no model called {name[:140]}.",
            remedy="Check the name, or ask for a role in its team.",
            code="registry.no_such_model",
        )


def _refuse_unsafe(asked: Asked) -> None:
    """Refuse paths that lead out, in the path or in a parameter, and hosts that are not ours."""
    host, _ = split_domain_port(asked.headers.get("host", ""))
    if not validate_host(host, settings.ALLOWED_HOSTS):
        raise Invalid(
            f"This web does not answer to the host {host[:80]!r}.",
            remedy="Add it to MODELYARD_HOSTS.",
            code="request.host",
        )
    given = [value for name, value in parse_qsl(asked.query) if name in PATHS_IN_QUERY]
    if leads_out(asked.path) or any(leads_out(p) or absolute(p) for p in given):
        raise Invalid(
            "The path leads out of the artifacts.",
            remedy="Use relative paths without '..'.",
            code="archive.path_traversal",
        )


def _refuse_forged(asked: Asked) -> None:
    """Refuse writes by a session that no page of ours has sent."""
    if asked.method in READING or not asked.by_session:
        return
    if asked.headers.get("sec-fetch-site", "") in ("cross-site", "same-site"):
        raise _forged()
    origin = urlsplit(asked.headers.get("origin") or asked.headers.get("referer", ""))
    ours = {asked.headers.get("host", ""), urlsplit(settings.PUBLIC_URL).netloc}
    if not origin.netloc or origin.netloc not in ours:
        raise _forged()


def _forged() -> Denied:
    return Denied(
        "The request was not proven to come from this site.",
        remedy="Use MLflow's pages from here, or send an API token.",
        code="request.forged",
    )


def _asked(scope: Scope) -> Asked:
    raw = bytes(scope.get("raw_path") or quote(str(scope["path"])).encode())
    path = raw.decode("latin-1").partition("?")[0].removeprefix(str(scope.get("root_path") or ""))
    client = scope.get("client")
    return Asked(
        method=str(scope["method"]).upper(),
        path=path.removeprefix(PREFIX),
        query=bytes(scope.get("query_string", b"")).decode("latin-1"),
        headers={
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        },
        client=str(client[0]) if client else "",
        scheme=str(scope.get("scheme", "http")),
    )


def _url(asked: Asked) -> httpx.URL:
    """Return where MLflow answers the request.

    Single artifacts are asked for outside MLflow's prefix: that route streams, while the same
    route inside the prefix holds whole files in memory.
    """
    base = settings.MLFLOW_URL.rstrip("/")
    if ARTIFACT.fullmatch(asked.plain):
        parts = urlsplit(base)
        base = f"{parts.scheme}://{parts.netloc}"
    return httpx.URL(base + asked.path + (f"?{asked.query}" if asked.query else ""))


def _headers_to_mlflow(asked: Asked) -> dict[str, str]:
    kept = {name: value for name, value in asked.headers.items() if name not in NOT_PASSED_ON}
    return {
        **kept,
        "x-forwarded-for": asked.client,
        "x-forwarded-host": asked.headers.get("host", ""),
        "x-forwarded-proto": asked.scheme,
    }


def _headers_back(asked: Asked, got: httpx.Response) -> Iterator[tuple[bytes, bytes]]:
    for name, value in got.headers.raw:
        lower = name.decode("latin-1").lower()
        if lower in NOT_PASSED_BACK:
            continue
        if lower == "location":
            value = _location(value.decode("latin-1")).encode("latin-1")
        yield name, value
    kind = got.headers.get("content-type", "")
    page = asked.path == "/" and kind.startswith("text/html")
    if page or kind.startswith("text/html") or "artifact" in asked.plain:
        # A file that somebody logged may be a page with a script: it must not run as ours.
        yield b"content-security-policy", (PAGE_POLICY if page else FILE_POLICY).encode()
    yield b"x-frame-options", b"SAMEORIGIN"
    if "x-content-type-options" not in got.headers:
        yield b"x-content-type-options", b"nosniff"
    yield b"referrer-policy", b"same-origin"


def _location(value: str) -> str:
    base = urlsplit(settings.MLFLOW_URL)
    origin = f"{base.scheme}://{base.netloc}"
    path = value.removeprefix(origin).removeprefix(base.path.rstrip("/"))
    return PREFIX + path if path.startswith("/") else value


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the request's body as it comes, up to the largest upload."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > settings.UPLOAD_LIMIT:
            raise Invalid("The file is larger than an upload may be.", code="upload.too_large")
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def _json(receive: Receive) -> dict[str, Any]:
    content = bytearray()
    async for chunk in _body(receive):
        content += chunk
        if len(content) > LARGEST_JSON:
            raise Invalid(
                f"The request has more than {LARGEST_JSON} bytes.", code="request.too_large"
            )
    try:
        value = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise Invalid("The request is no JSON.", code="request.malformed") from error
    if not isinstance(value, dict):
        raise Invalid("The request is no JSON object.", code="request.malformed")
    return value


def _elsewhere(address: str) -> Answer:
    return Answer(303, b"", "text/plain", {"Location": address, "Cache-Control": "no-store"})


async def _answer(send: Send, answer: Answer) -> None:
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.content)),
        "X-Content-Type-Options": "nosniff",
        **answer.headers,
    }
    raw = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.content})


async def _in_thread(
    work: Callable[[], Any], *, executor: ThreadPoolExecutor | None = None
) -> Any:
    """Run `work`, which uses the database, beside the event loop."""

    def worked() -> Any:
        try:
            return work()
        finally:
            close_old_connections()

    return await sync_to_async(worked, thread_sensitive=False, executor=executor)()


_clients: weakref.WeakKeyDictionary[AbstractEventLoop, httpx.AsyncClient] = (
    weakref.WeakKeyDictionary()
)


def _client() -> httpx.AsyncClient:
    """Return the connections of this event loop: one set per process, made on first use."""
    loop = get_running_loop()
    if loop not in _clients:
        _clients[loop] = httpx.AsyncClient(
            timeout=TIMEOUT, limits=LIMITS, follow_redirects=False, trust_env=False
        )
    return _clients[loop]


async def close() -> None:
    """Give the connections of this event loop back."""
    if client := _clients.pop(get_running_loop(), None):
        await client.aclose()
