"""The bytes of an upload, as a plain ASGI application beside Django.

Django reads a whole request body before it calls a view; 5 GB must go to the disk as they
come instead. The protocol is that of tus (https://tus.io) in what it shares:

    PATCH /uploads/{id}    Content-Type: application/offset+octet-stream, Upload-Offset: n
      204 Upload-Offset: m     they are on the disk; when m is the size, the upload is finished
      409 Upload-Offset: m     go on from m
    HEAD /uploads/{id}     200 Upload-Offset: m, Upload-Length: size

Memory stays constant: one piece is held at a time, and the sender waits for the disk.
"""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import orjson
import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections

from apps.accounts import identify
from apps.accounts.domain import access
from apps.registry import blobs, selectors, services
from apps.registry.models import Upload, UploadState
from apps.registry.services import part_path
from controlplane.http import problems
from controlplane.http.asgi import Receive, Scope, Send
from controlplane.kernel.actor import ANONYMOUS, Actor, ActorKind
from controlplane.kernel.errors import Conflict, ControlPlaneError, Denied, Invalid

log = structlog.get_logger(__name__)

PIECE = 1024 * 1024  # bytes written at a time
NOTED_EVERY = 64 * 1024 * 1024  # bytes between two notes of how far it is
CONTENT_TYPE = "application/offset+octet-stream"
P = ParamSpec("P")
T = TypeVar("T")


class Gone(Exception):
    """The sender has hung up."""


class WrongOffset(Conflict):
    """The bytes do not begin where the last ones ended."""

    code = "upload.wrong_offset"

    def __init__(self, given: int, received: int) -> None:
        """Keep the right offset, for the answer's header."""
        super().__init__(
            f"The bytes begin at {given}, but {received} are here.",
            remedy=f"Send from byte {received} on.",
        )
        self.received = received


@dataclass
class Arriving:
    """An upload while its bytes come.

    Attributes:
        upload: The row.
        descriptor: The open, locked part file.
        received: Bytes on the disk.
        digest: Of all bytes so far; None when this request did not see the first ones.
    """

    upload: Upload
    descriptor: int
    received: int
    digest: Any
    noted: int = 0
    pending: bytearray = field(default_factory=bytearray)


async def upload_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request for /uploads/{id}."""
    if scope["type"] != "http":
        return
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
    actor = ANONYMOUS
    try:
        actor = await identify.from_scope(scope)
        _refuse_nobody(actor)
        upload = await _in_thread(selectors.upload, actor, str(scope["path"]).split("/")[2][:40])
        if scope["method"] == "HEAD":
            await _answer(send, 200, _offsets(upload.received, upload.size))
        elif scope["method"] == "PATCH":
            _refuse_forgery(headers)
            access.require(actor, "registry.upload")
            received = await _take(actor, upload, headers, receive)
            await _answer(send, 204, _offsets(received, upload.size))
        else:
            await _answer(send, 405, {"allow": "HEAD, PATCH"})
    except Gone:
        log.info("upload.cut_off", path=scope["path"])
    except ControlPlaneError as error:
        await _refuse(send, error, actor)


async def _take(actor: Actor, upload: Upload, headers: Mapping[str, str], receive: Receive) -> int:
    """Write what the request holds, and finish the upload when that was the rest.

    1. Check offset, announced length and state, and lock the part file.
    2. Write piece by piece, noting now and then how far it is.
    3. However this ends, note how many bytes are on the disk.
    4. With all of them, take the file into the blob store and read what it is.
    """
    offset = _offset(headers)
    _refuse_too_many(offset + int(headers.get("content-length") or 0), upload.size)
    arriving = await _in_thread(_open, upload, offset)
    try:
        await _stream(arriving, receive)
    finally:
        # Shielded: a server that is stopping cancels this, and the note must still be made.
        await asyncio.shield(_in_thread(_close, arriving))
    if arriving.received == upload.size:
        sha256 = arriving.digest.hexdigest() if arriving.digest is not None else ""
        finished = await _in_thread(
            services.finish_upload, actor=actor, public_id=upload.public_id, sha256=sha256
        )
        _refuse_unusable(finished)
    return arriving.received


async def _stream(arriving: Arriving, receive: Receive) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            await _in_thread(_write, arriving)
            raise Gone
        arriving.pending += message.get("body", b"")
        more = message.get("more_body", False)
        if len(arriving.pending) >= PIECE or not more:
            _refuse_too_many(arriving.received + len(arriving.pending), arriving.upload.size)
            await _in_thread(_write, arriving)


def _open(upload: Upload, offset: int) -> Arriving:
    """Open and lock the part file, cut to what the row says is there."""
    path = part_path(upload)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                "Another request is sending this upload's bytes.",
                remedy="Wait for it to end, or send the rest afterwards.",
                code="upload.busy",
            ) from error
        upload.refresh_from_db()
        _refuse_closed(upload)
        received = min(upload.received, os.fstat(descriptor).st_size)
        if offset != received:
            raise WrongOffset(offset, received)
        os.ftruncate(descriptor, received)
        os.lseek(descriptor, received, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    digest = hashlib.sha256() if offset == 0 else None
    return Arriving(upload, descriptor, received, digest, noted=received)


def _write(arriving: Arriving) -> None:
    piece = bytes(arriving.pending)
    arriving.pending.clear()
    with blobs.full_disk_said_clearly():
        view = memoryview(piece)
        while view:
            written = os.write(arriving.descriptor, view)
            arriving.received += written
            view = view[written:]
    if arriving.digest is not None:
        arriving.digest.update(piece)
    if arriving.received - arriving.noted >= NOTED_EVERY:
        services.note_received(upload_id=arriving.upload.pk, received=arriving.received)
        arriving.noted = arriving.received


def _close(arriving: Arriving) -> None:
    try:
        services.note_received(upload_id=arriving.upload.pk, received=arriving.received)
    finally:
        os.close(arriving.descriptor)


def _offset(headers: Mapping[str, str]) -> int:
    given = headers.get("upload-offset", "")
    if headers.get("content-type", CONTENT_TYPE).partition(";")[0].strip() != CONTENT_TYPE:
        raise Invalid(
            f"The bytes of an upload are sent as {CONTENT_TYPE}.", code="upload.content_type"
        )
    if not (given.isascii() and given.isdigit()) or len(given) > 18:
        raise Invalid(
            "The header Upload-Offset must say at which byte the request begins.",
            field="Upload-Offset",
            code="upload.no_offset",
        )
    return int(given)


def _refuse_closed(upload: Upload) -> None:
    if upload.state != UploadState.OPEN:
        raise Conflict(
            f"This upload is {upload.state}; nothing can be added to it.",
            remedy="Begin another one.",
            code="upload.closed",
        )


def _refuse_too_many(total: int, size: int) -> None:
    if total > size:
        raise Invalid(
            f"The upload was announced with {size} bytes, and more are coming.",
            remedy="Announce the file again with its real size.",
            field="size",
            code="upload.too_many_bytes",
        )


def _refuse_unusable(upload: Upload) -> None:
    """Say at once what makes an upload useless: an unsafe archive, a broken file."""
    problem = upload.facts.get("problem")
    if problem and problem["code"] != "registry.format_unknown" and "files" not in upload.facts:
        raise Invalid(
            problem["sentence"], remedy=problem["remedy"], field="upload", code=problem["code"]
        )


def _refuse_nobody(actor: Actor) -> None:
    if actor.kind is ActorKind.ANONYMOUS:
        raise Denied("Sign in first.", code="access.unauthenticated")


def _refuse_forgery(headers: Mapping[str, str]) -> None:
    """Accept a session only from our own pages; a token needs no such proof.

    A page of another site can make a browser send our cookie, but neither leave out its own
    Origin nor, without our consent by CORS, send a PATCH at all.
    """
    if "authorization" in headers or headers.get("sec-fetch-site") == "same-origin":
        return
    origin = urlsplit(headers.get("origin", ""))
    trusted = {urlsplit(o).netloc for o in settings.CSRF_TRUSTED_ORIGINS}
    if origin.netloc and origin.netloc in {headers.get("host", ""), *trusted}:
        return
    raise Denied(
        "The request was not proven to come from this site.",
        remedy="Send it from a page of this site, or use an API token.",
        code="request.forged",
    )


async def _refuse(send: Send, error: ControlPlaneError, actor: Actor) -> None:
    problem = problems.of(error, actor)
    if problem is None:
        raise error
    headers = {"content-type": problems.CONTENT_TYPE, **problem.headers}
    if isinstance(error, WrongOffset):
        headers["upload-offset"] = str(error.received)
    await _answer(send, problem.status, headers, orjson.dumps(problem.document()))


def _offsets(received: int, size: int) -> dict[str, str]:
    return {
        "upload-offset": str(received),
        "upload-length": str(size),
        "cache-control": "no-store",
    }


async def _answer(send: Send, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
    listed = [(k.lower().encode(), v.encode("latin-1", "replace")) for k, v in headers.items()]
    if status != 204:
        listed.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})


def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Run what touches the disk or the database beside the event loop."""

    def called() -> T:
        try:
            return call(*args, **kwargs)
        finally:
            close_old_connections()  # outside Django's request cycle nobody else does

    return sync_to_async(called, thread_sensitive=False)()
