"""Fails any test in which a service wrote a row of the product and no ledger entry.

Every statement of the test passes by here. A write is put down to the outermost function of an
`apps.*.services` module on the stack; rows that a test or a factory writes itself do not count,
nor does what was rolled back.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest
from django.db import connection

WRITE = re.compile(r'^\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+"(\w+)"', re.IGNORECASE)
SAVEPOINT = re.compile(r'^\s*(ROLLBACK TO SAVEPOINT|RELEASE SAVEPOINT|SAVEPOINT)\s+"?(\w+)', re.I)
SERVICES = re.compile(r"^apps\.\w+\.services(\.|$)")
LEDGER = "audit_auditevent"
# Bookkeeping of the web, not rows of the product.
NOT_OURS = frozenset({"django_session", "http_storedanswer", "accounts_signinfailures"})
# Observations, which nobody decided: one line each, with the reason.
OBSERVATIONS = frozenset(
    {
        "apps.accounts.services.tokens.note_use",  # when a token was last used
        "apps.monitoring.services.record_feedback",  # who told it stands there once a day
        "apps.notifications.services.outbox.send_digests",  # told of before, now by mail
        "apps.notifications.services.outbox.tidy",  # too old to matter to anybody
        "apps.notifications.services.reading.mark_all_read",  # one's own reading
        "apps.notifications.services.reading.mark_read",  # one's own reading
        "apps.notifications.services.telling.notify",  # told of an act that has its own entry
        "apps.registry.services.uploads.note_received",  # how many bytes have come
    }
)


@dataclass
class Write:
    """One statement inside one call of a service."""

    call: FrameType
    service: str
    table: str


@dataclass
class Watch:
    """What a test wrote so far, and where its savepoints lie."""

    writes: list[Write] = field(default_factory=list)
    marks: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, execute: Callable[..., Any], sql: Any, *rest: Any) -> Any:
        """Note one statement, and pass it on."""
        answer = execute(sql, *rest)
        text = str(sql)
        if found := WRITE.match(text):
            self._note(found[1])
        elif found := SAVEPOINT.match(text):
            self._mark(found[1].upper(), found[2])
        return answer

    def forget(self) -> None:
        """Drop everything: the transaction was rolled back."""
        self.writes.clear()

    def silent(self) -> list[str]:
        """Return the services that wrote without a ledger entry, with their tables."""
        tables: dict[int, tuple[str, set[str]]] = {}
        for write in self.writes:
            tables.setdefault(id(write.call), (write.service, set()))[1].add(write.table)
        return sorted(
            f"{service} wrote {', '.join(sorted(written))}"
            for service, written in tables.values()
            if LEDGER not in written and written - NOT_OURS and service not in OBSERVATIONS
        )

    def _note(self, table: str) -> None:
        call = _outermost_service(sys._getframe(2))
        if call is not None:
            name = f"{call.f_globals['__name__']}.{call.f_code.co_name}"
            self.writes.append(Write(call, name, table))

    def _mark(self, what: str, name: str) -> None:
        if what == "SAVEPOINT":
            self.marks.append((name, len(self.writes)))
            return
        for at, (marked, length) in reversed(list(enumerate(self.marks))):
            if marked == name:
                if what.startswith("ROLLBACK"):
                    del self.writes[length:]
                else:
                    del self.marks[at:]
                return


@pytest.fixture(autouse=True)
def every_service_writes_to_the_ledger(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Watch the writes of a test that uses the database."""
    uses_database = request.node.get_closest_marker("django_db") or {
        "db",
        "transactional_db",
        "live_server",
    } & set(request.fixturenames)
    if not uses_database:
        yield
        return
    watch = Watch()
    roll_back = connection.rollback

    def rolled_back() -> None:
        watch.forget()
        roll_back()

    monkeypatch.setattr(connection, "rollback", rolled_back)
    with connection.execute_wrapper(watch):
        yield
        silent = watch.silent()
    if silent:
        pytest.fail("No ledger entry: " + "; ".join(silent), pytrace=False)


def _outermost_service(frame: FrameType | None) -> FrameType | None:
    found = None
    while frame is not None:
        if SERVICES.match(frame.f_globals.get("__name__", "")):
            found = frame
        frame = frame.f_back
    return found
