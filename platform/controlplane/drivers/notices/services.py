"""Slack, Teams, PagerDuty and the others that Apprise speaks to.

Apprise answers yes or no, and says why in its log; so the log of the call is read. It follows
redirects and looks names up by itself; so, while it works for us, every connection of its thread
is made to an address that was looked at (places.py).
"""

import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import apprise
import urllib3.connection
import urllib3.util.connection

from apps.notifications.ports import Parcel
from controlplane.drivers.notices import answers, places
from controlplane.kernel.errors import ControlPlaneError, Permanent, Transient

ASSET = apprise.AppriseAsset(
    app_id="Modelyard", app_desc="Modelyard", app_url="", secure_logging=True,
    storage_mode=apprise.PersistentStoreMode.MEMORY, allow_templates=False,
)  # fmt: skip
CONNECT_SECONDS, READ_SECONDS = 4.0, 8.0
STATUS = re.compile(r"error[ =]+(\d{3})")


@dataclass(frozen=True)
class AppriseSender:
    """Implements `apps.notifications.ports.Sender`.

    Attributes:
        private: Whether the own machine and network may be spoken to.
    """

    private: bool = False

    def send(self, parcel: Parcel) -> str:
        """Implement `Sender.send`."""
        service = _service(parcel.target)
        message = parcel.message
        with _heard() as said, _only_to(private=self.private) as refused:
            taken = service.notify(
                title=message.title,
                body="\n\n".join(part for part in (message.body, parcel.url) if part),
                notify_type=_urgency(parcel),
                body_format=apprise.NotifyFormat.TEXT,
            )
        if refused:
            raise refused[0]
        if not taken:
            raise _fault(said, str(service.service_name))
        return f"taken by {service.service_name}"


def _service(target: str) -> Any:
    """Return what speaks to the service of an address."""
    with _heard() as said:
        service = apprise.Apprise.instantiate(target, asset=ASSET)
    if service is None:
        why = f": {said[-1]}" if said else ""
        raise Permanent(
            f"Apprise cannot read the address of this channel{why}.",
            remedy="Compare it with https://github.com/caronc/apprise/wiki.",
            code="notice.bad_address",
        )
    service.socket_connect_timeout = CONNECT_SECONDS
    service.socket_read_timeout = READ_SECONDS
    service.verify_certificate = True
    return service


def _urgency(parcel: Parcel) -> Any:
    kinds = apprise.NotifyType
    return kinds.FAILURE if parcel.message.urgent else kinds.INFO


def _fault(said: list[str], service: str) -> ControlPlaneError:
    """Return what a no means, from what Apprise said about it."""
    words = said[-1] if said else "it did not say why"
    status = next((m[1] for line in reversed(said) if (m := STATUS.search(line))), "")
    if status:
        return answers.fault(int(status), f"{service} ({words})"[:300], {})
    return Transient(
        f"{service} did not take the message: {words}"[:400],
        remedy="It is tried again by itself; check the channel's address.",
        code="notice.not_taken",
    )


class _Ear(logging.Handler):
    """Keeps the warnings that one thread logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread, self.said = threading.get_ident(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        if record.thread == self.thread:
            self.said.append(" ".join(record.getMessage().split()).rstrip(".")[:300])


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what Apprise says in this thread."""
    ear, log = _Ear(), logging.getLogger("apprise")
    log.addHandler(ear)
    try:
        yield ear.said
    finally:
        log.removeHandler(ear)


@dataclass
class _Watch:
    """What the connections of one call may reach, and what was refused to it."""

    private: bool
    refused: list[ControlPlaneError]


_watch: ContextVar[_Watch | None] = ContextVar("notices_watch", default=None)
_connect = urllib3.util.connection.create_connection


def _watched(address: tuple[str, int], *rest: Any, **options: Any) -> socket.socket:
    """Connect, while a call is watched, to an address that was looked at."""
    watch = _watch.get()
    if watch is None:
        return _connect(address, *rest, **options)
    host, port = address
    try:
        number = places.resolve(host.strip("[]"), port, private=watch.private)
    except Permanent as error:
        watch.refused.append(error)
        raise OSError(error.sentence) from error
    except Transient as error:
        raise OSError(error.sentence) from error
    return _connect((number, port), *rest, **options)


# For the whole process, but of no consequence outside `_only_to`. There is no gentler way:
# Apprise calls `requests` by its module's functions, which take no connector.
urllib3.util.connection.create_connection = _watched


@contextmanager
def _only_to(*, private: bool) -> Iterator[list[ControlPlaneError]]:
    """Have this thread's connections looked at; collects what was refused."""
    watch = _Watch(private, [])
    token = _watch.set(watch)
    try:
        yield watch.refused
    finally:
        _watch.reset(token)
