"""A closed-loop HTTP load: each connection sends its next request when it has its answer.

Written on bare asyncio streams: a full client would cost more than the servers it measures.
"""

import asyncio
import json
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        method: "GET", "POST", ...
        path: With its query.
        body: Bytes as they are; anything else but None is JSON-encoded.
        headers: Added to the necessary ones.
    """

    method: str
    path: str
    body: object | None = None
    headers: dict[str, str] | None = None


Steps = Generator[Ask, bytes, None]  # several requests that count as one; given each answer


@dataclass(frozen=True)
class Measured:
    """What came of a load.

    Attributes:
        per_second: Answers with status below 400, per second.
        p50_ms: Median latency, milliseconds.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        failed: Answers with status 400 or more.
        first_failure: The first of them, as text.
    """

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int
    first_failure: str


def run(
    base: str,
    ask: Callable[[int], Ask | Steps],
    *,
    seconds: float,
    connections: int = 1,
    warm: int = 20,
) -> Measured:
    """Send `ask(0)`, `ask(1)`, ... to `base` for `seconds`, and measure."""
    return asyncio.run(_run(base, ask, seconds, connections, warm))


async def _run(
    base: str, ask: Callable[[int], Ask | Steps], seconds: float, connections: int, warm: int
) -> Measured:
    host = urlsplit(base)
    numbers = iter(range(10**9))
    latencies: list[float] = []
    failures: list[str] = []

    async def connection(until: float | None) -> None:
        reader, writer = await asyncio.open_connection(host.hostname, host.port)
        count = 0
        while time.perf_counter() < until if until else count < warm:
            count += 1
            began = time.perf_counter()
            status, body = await _converse(reader, writer, host.netloc, ask(next(numbers)))
            if until is None:
                continue
            if status < 400:
                latencies.append(time.perf_counter() - began)
            else:
                failures.append(f"{status} {body[:300]!r}")
        writer.close()

    await connection(None)
    began = time.perf_counter()
    await asyncio.gather(*(connection(began + seconds) for _ in range(connections)))
    took = time.perf_counter() - began
    ordered = sorted(latencies) or [float("nan")]
    return Measured(
        len(latencies) / took,
        *(ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000 for q in (0.5, 0.95, 0.99)),
        len(failures),
        failures[0] if failures else "",
    )


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, netloc: str, ask: Ask | Steps
) -> tuple[int, bytes]:
    """Send one request, or several until one is refused; return the last answer."""
    steps = _one_step(ask) if isinstance(ask, Ask) else ask
    status, body, step = 0, b"", next(steps)
    while True:
        writer.write(_encode(netloc, step))
        status, body = await _answer(reader)
        if status >= 400:
            return status, body
        try:
            step = steps.send(body)
        except StopIteration:
            return status, body


def _one_step(ask: Ask) -> Steps:
    """Return the one request as steps."""
    yield ask


def _encode(netloc: str, ask: Ask) -> bytes:
    body = ask.body if isinstance(ask.body, bytes) else _json(ask.body)
    head = [f"{ask.method} {ask.path} HTTP/1.1", f"Host: {netloc}", f"Content-Length: {len(body)}"]
    if body and not isinstance(ask.body, bytes):
        head.append("Content-Type: application/json")
    head += [f"{name}: {value}" for name, value in (ask.headers or {}).items()]
    return "\r\n".join([*head, "", ""]).encode() + body


def _json(body: object | None) -> bytes:
    return b"" if body is None else json.dumps(body).encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    lines = head.lower().split(b"\r\n")
    for line in lines:
        if line.startswith(b"content-length:"):
            return status, await reader.readexactly(int(line.split(b":")[1]))
    if b"transfer-encoding: chunked" not in lines:
        return status, b""
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return status, body
