"""Answers that are sent while they are made, under WSGI and under ASGI.

Under ASGI Django would collect a plain iterator whole before it sends anything. Here each piece is
made in a thread beside the event loop, which gives its connection back at once.
"""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import HttpRequest, StreamingHttpResponse

PIECE = 256 * 1024  # bytes, about


def download(
    request: HttpRequest, lines: Iterator[bytes], *, name: str, content_type: str
) -> StreamingHttpResponse:
    """Return `lines` as a file called `name`, which is plain ASCII."""
    pieces = _pieces(lines)
    response = StreamingHttpResponse(
        _beside(pieces) if isinstance(request, ASGIRequest) else pieces,
        content_type=content_type,
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


async def _beside(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes:
        try:
            return next(pieces, b"")
        finally:
            connection.close()  # back to the pool: the next piece may be made by another thread

    while piece := await sync_to_async(following, thread_sensitive=False)():
        yield piece
