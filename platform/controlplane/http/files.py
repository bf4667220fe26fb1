"""A stored file as an answer: streamed, named, never run by a browser, 304 when it is known."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import BinaryIO

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from controlplane.kernel.digests import CHUNK


def download(
    request: HttpRequest, *, sha256: str, size: int, path: str, opened: Callable[[], BinaryIO]
) -> HttpResponseBase:
    """Return the bytes of a file; its entity tag is its digest.

    Args:
        request: What asks.
        sha256: The file's digest.
        size: Its bytes.
        path: Its name, perhaps with folders before it.
        opened: Opens it; not called when the client has it already.
    """
    tag = f'"{sha256}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponse(status=304, headers={"ETag": tag})
    stream = opened()
    response = StreamingHttpResponse(
        _pieces_later(stream) if isinstance(request, ASGIRequest) else _pieces(stream),
        content_type="application/octet-stream",
    )
    last = path.rpartition("/")[2].replace('"', "").encode("ascii", "replace").decode()
    response["Content-Length"] = str(size)
    response["Content-Disposition"] = f'attachment; filename="{last}"'
    response["ETag"] = tag
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(CHUNK):
            yield chunk


async def _pieces_later(stream: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the file without holding the event loop up."""
    try:
        while chunk := await asyncio.to_thread(stream.read, CHUNK):
            yield chunk
    finally:
        stream.close()
