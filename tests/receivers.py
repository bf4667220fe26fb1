"""Receivers that really listen: a web server and a mail server that say what they are told."""

import asyncio
import contextlib
import email
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

from aiosmtpd.smtp import SMTP


@dataclass
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebReceiver:
    """What a web server has received, and what it answers.

    Attributes:
        answers: Status and headers of the answers to come; the last one stays.
        words: What it says.
        pause: What it does before it answers.
    """

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    words: bytes = b"thanks"
    pause: Any = None
    received: list[Received] = field(default_factory=list)
    port: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook?key=s3cret"

    def says(self, *statuses: int, **headers: str) -> None:
        """Answer with these, one after the other."""
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        self.answers = [(status, named) for status in statuses]

    def take(self, request: Received) -> tuple[int, dict[str, str]]:
        """Keep one request, and return what to answer."""
        with self._lock:
            self.received.append(request)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def web_receiver(
    host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None
) -> Iterator[WebReceiver]:
    """Listen on a free port; in secret with `tls`."""
    receiver = WebReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Received(self.path, dict(self.headers), body)
            status, headers = receiver.take(request)
            if receiver.pause is not None:
                receiver.pause(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(receiver.words)))
            self.end_headers()
            self.wfile.write(receiver.words)

        do_GET = do_POST  # noqa: N815 - its name is the library's

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailReceiver:
    """What a mail server has received, and what it answers to the next receiver's name."""

    answers: list[str] = field(default_factory=list)
    received: list[EmailMessage] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802 - its name is aiosmtpd's
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        """Take an address, or say what the test wants said."""
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep one mail."""
        mail = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.received.append(mail)
        return "250 Message accepted"


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """Listen on a free port."""
    receiver, ready, loop = MailReceiver(), Event(), asyncio.new_event_loop()

    done = asyncio.Event()

    async def listen() -> None:
        server = await loop.create_server(lambda: SMTP(receiver, loop=loop), "127.0.0.1", 0)
        receiver.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await done.wait()

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(listen())

    thread = Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
