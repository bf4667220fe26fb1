"""The protocol over HTTP, as a bare ASGI application: no framework, so nearly no overhead."""

import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import Any
from urllib.parse import parse_qs

import orjson

from workers.runtimes.oip import kept, protocol
from workers.runtimes.oip.batching import Batcher
from workers.runtimes.oip.kept import Kept, Note
from workers.runtimes.oip.metrics import CONTENT_TYPE, Metrics
from workers.runtimes.oip.model import Model
from workers.runtimes.oip.protocol import Refused

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
OCTETS = (b"content-type", b"application/octet-stream")
CLOSE = (b"connection", b"close")
HEADER_LENGTH = b"inference-header-content-length"
KEPT_ANSWERS = "/modelyard/answers"  # for the control plane; the proxy shows it to nobody
SERVER = {"name": "modelyard", "version": "1", "extensions": ["binary_tensor_data"]}


@dataclass(frozen=True)
class Identity:
    """What this server serves."""

    name: str
    revision: int
    digest: str


@dataclass
class Reply:
    """An answer on its way out."""

    status: int
    body: bytes
    headers: Headers = field(default_factory=lambda: [JSON])


class App:
    """Answers the protocol for one model.

    Attributes:
        model: None until it is loaded.
        batcher: None until the model is warm: this is what readiness means.
        draining: Once true, the server is not ready, asks its callers to connect elsewhere, and
            still answers whatever reaches it.
        kept: The answers to marked requests.
    """

    def __init__(self, identity: Identity, *, max_body: int) -> None:
        """Answer for `identity`, whose model is still to come."""
        self.identity, self.max_body = identity, max_body
        self.model: Model | None = None
        self.batcher: Batcher | None = None
        self.draining = False
        self.metrics = Metrics({"model": identity.name, "revision": str(identity.revision)})
        self.kept = Kept(run=secrets.token_hex(8))
        self._infer_paths, self._reads = self._routes()

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.batcher is not None and not self.draining

    def _routes(self) -> tuple[frozenset[str], dict[str, Callable[[], Reply]]]:
        model = f"/v2/models/{self.identity.name}"
        version = f"{model}/versions/{self.identity.revision}"
        reads = {
            "/v2": lambda: _json(200, SERVER),
            "/v2/health/live": lambda: _json(200, {"live": True}),
            "/v2/health/ready": self._readiness,
            "/metrics": self._metrics,
        }
        for path in (model, version):
            reads |= {path: self._metadata, f"{path}/ready": self._readiness}
        return frozenset({f"{model}/infer", f"{version}/infer"}), reads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = scope["path"].rstrip("/") or "/"
        if path in self._infer_paths and scope["method"] == "POST":
            reply = await self._answer_inference(scope, receive)
        elif path == KEPT_ANSWERS and scope["method"] == "GET":
            reply = self._kept_answers(scope["query_string"])
        else:
            reply = self._answer_read(path, scope["method"])
        if self.draining:
            reply.headers.append(CLOSE)
        reply.headers.append((b"content-length", str(len(reply.body)).encode()))
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": reply.headers}
        )
        body = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})

    async def _answer_inference(self, scope: Scope, receive: Receive) -> Reply:
        started = perf_counter()
        self.metrics.in_flight += 1
        note = kept.note(scope["headers"]) if kept.MARK in scope["headers"] else None
        try:
            reply = await self._infer(scope, receive, note)
        except Refused as refused:
            reply = _error(refused.status, refused.sentence)
            if refused.status == 413:
                reply.headers.append(CLOSE)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reply = _error(500, f"The model failed: {type(error).__name__}: {error}")
        finally:
            self.metrics.in_flight -= 1
        seconds = perf_counter() - started
        self.metrics.observe_request(reply.status, seconds)
        if note is not None:
            self._keep(note, reply.status, seconds)
        return reply

    def _keep(self, note: Note, status: int, seconds: float) -> None:
        try:
            self.kept.add(note, status=status, seconds=seconds, at=time())
        except Exception:  # a comparison never costs a caller the answer
            traceback.print_exc(file=sys.stderr)

    async def _infer(self, scope: Scope, receive: Receive, note: Note | None) -> Reply:
        if self.model is None or self.batcher is None:
            raise Refused("The model is still being loaded; try again soon.", status=503)
        header_length = _header_length(scope["headers"])
        body = await _read_body(receive, self.max_body)
        if note is not None:
            note.body = kept.digest(body)
        request = protocol.read_request(
            body,
            inputs=self.model.inputs,
            outputs=self.model.outputs,
            header_length=header_length,
        )
        outputs = await self.batcher.submit(request.inputs)
        if note is not None:
            note.outputs = {name: outputs[name] for name, _ in request.wanted}
        content, head = protocol.write_response(
            outputs,
            request=request,
            model=self.identity.name,
            version=str(self.identity.revision),
        )
        if head is None:
            return Reply(200, content)
        return Reply(200, content, [OCTETS, (HEADER_LENGTH, str(head).encode())])

    def _answer_read(self, path: str, method: str) -> Reply:
        if path in self._infer_paths:
            return _not_allowed(method, b"POST")
        read = self._reads.get(path)
        if read is None:
            return _error(404, self._lost(path))
        if method not in ("GET", "HEAD"):
            return _not_allowed(method, b"GET, HEAD")
        return read()

    def _lost(self, path: str) -> str:
        parts = path.split("/")
        identity = self.identity
        if parts[1:3] == ["v2", "models"] and len(parts) > 3:
            if parts[3] != identity.name:
                return f"There is no model called “{parts[3]}” here; this is “{identity.name}”."
            if len(parts) > 5 and parts[4] == "versions" and parts[5] != str(identity.revision):
                return f"“{identity.name}” has version {identity.revision} here, not {parts[5]}."
        return f"There is nothing at {path}."

    def _readiness(self) -> Reply:
        return _json(200 if self.ready else 503, {"ready": self.ready})

    def _metadata(self) -> Reply:
        if self.model is None:
            return _error(503, "The model is still being loaded; try again soon.")
        document = {
            "name": self.identity.name,
            "versions": [str(self.identity.revision)],
            "platform": self.model.platform,
            "inputs": [spec.document() for spec in self.model.inputs],
            "outputs": [spec.document() for spec in self.model.outputs],
            "parameters": {
                "bundle_digest": self.identity.digest,
                "revision": str(self.identity.revision),
            },
        }
        return _json(200, document)

    def _kept_answers(self, query: bytes) -> Reply:
        asked = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}
        try:
            after, limit = int(asked.get("after", 0)), int(asked.get("limit", kept.PAGE))
        except ValueError:
            return _error(400, "“after” and “limit” are whole numbers.")
        if after < 0 or limit < 1:
            return _error(400, "“after” is at least 0, and “limit” at least 1.")
        return Reply(200, self.kept.page(after=after, limit=limit))

    def _metrics(self) -> Reply:
        depth = self.batcher.depth if self.batcher else 0
        text = self.metrics.text(queue_depth=depth, ready=self.ready)
        return Reply(200, text, [(b"content-type", CONTENT_TYPE)])


async def _read_body(receive: Receive, limit: int) -> bytes:
    """Return the whole body, or refuse it once it has come in.

    A body that is too large is read and dropped: a caller that is still sending would see its
    connection reset, and never the reason. Past eight times the limit that courtesy ends.
    """
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("The caller left before its request was complete.", status=400)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
        if size > 8 * limit or not message.get("more_body"):
            break
    if size > limit:
        raise Refused(f"The body has more than {limit} bytes, the most allowed here.", status=413)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _header_length(headers: Headers) -> int | None:
    for name, value in headers:
        if name == HEADER_LENGTH:
            if not value.isdigit():
                raise Refused("Inference-Header-Content-Length is not a number.")
            return int(value)
    return None


def _json(status: int, document: object) -> Reply:
    return Reply(status, orjson.dumps(document))


def _error(status: int, sentence: str) -> Reply:
    return _json(status, {"error": sentence})


def _not_allowed(method: str, allowed: bytes) -> Reply:
    reply = _error(405, f"{method} is not possible here; use {allowed.decode()}.")
    reply.headers.append((b"allow", allowed))
    return reply
