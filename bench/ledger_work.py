"""What the ledger's bench does inside the database, in a process of its own with Django in it."""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import django

django.setup()

from django.db import connection, transaction  # noqa: E402

from apps.audit import exporting, keys, sealing  # noqa: E402
from apps.audit.domain import chain  # noqa: E402
from apps.audit.models import AuditEvent, Seal  # noqa: E402
from apps.audit.selectors import event_values  # noqa: E402
from apps.audit.services import record  # noqa: E402
from controlplane.kernel.actor import worker  # noqa: E402
from controlplane.kernel.clock import SystemClock  # noqa: E402

FILL = """
INSERT INTO audit_auditevent (at, actor_kind, actor_name, verb, target, subject, before, after,
                              reason, request_id)
SELECT now() - (%s - n) * interval '1 second', 'person', 'person' || n %% 40,
       'registry.version.edit', 'version/' || md5(n::text), 'card-fraud-score v' || n,
       '{"description": ""}', jsonb_build_object('description', 'Trained on week ' || n),
       'Because of ticket ' || n, md5((n * 7)::text)
FROM generate_series(1, %s) n
"""


def fill(count: int, folder: Path) -> dict[str, float]:
    """Write `count` events, seal and export them, and return the seconds that each took."""
    with connection.cursor() as cursor:
        cursor.execute(FILL, [count, count])
        cursor.execute("ANALYZE audit_auditevent")
    signer = keys.signer()
    took = {"seal": _seconds(lambda: sealing.seal(limit=count))}
    lines = exporting.whole(signer=signer, at=SystemClock().now())
    took["export"] = _seconds(lambda: _save(folder / "export.jsonl", lines))
    (folder / "ledger.pub").write_bytes(signer.public_pem())
    return took


def write(connections: int, seconds: float, how: str) -> dict[str, float]:
    """Append events over many connections, and return how many a second there were.

    Args:
        connections: Processes, each with a connection of its own.
        seconds: How long.
        how: "alone", "sealed" (with the sealing pass beside), or "locked": chained while it is
            written, under one lock, which is the design that was not taken.
    """
    before, began = AuditEvent.objects.count(), time.monotonic()
    connection.close()
    fork = multiprocessing.get_context("fork")
    stop = fork.Event()
    work = _append_locked if how == "locked" else _append
    writers = [fork.Process(target=_until, args=(stop, work)) for _ in range(connections)]
    sealer = [fork.Process(target=_seal, args=(stop,))] if how == "sealed" else []
    for process in writers + sealer:
        process.start()
    time.sleep(seconds)
    stop.set()
    for process in writers:
        process.join()
    took = time.monotonic() - began
    for process in sealer:
        process.join()
    waiting = AuditEvent.objects.filter(seal=None).count()
    rate = (AuditEvent.objects.count() - before) / took
    caught_up = _seconds(lambda: sealing.seal(limit=10_000_000))
    return {"per_second": rate, "waiting": waiting, "caught_up": caught_up}


def _until(stop: Event, work: Callable[[], Any]) -> None:
    while not stop.is_set():
        work()


def _append() -> None:
    with transaction.atomic():
        _record()


def _append_locked() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(1)")
        event, last = _record(), sealing.head()
        link = chain.after(last, event_values(event))
        Seal.objects.create(
            position=link.position, event=event, previous=link.previous, hash=link.hash
        )


def _record() -> AuditEvent:
    return record(
        actor=worker("bench"),
        verb="registry.model.edit",
        target="model/3f9k2m",
        subject="card-fraud-score",
        before={"tolerance": 0.01},
        after={"tolerance": 0.02},
        reason="Because of ticket 7",
    )


def _seal(stop: Event) -> None:
    """Do what the beat does: a pass each second."""
    while not stop.wait(1.0):
        sealing.seal()


def _save(path: Path, lines: Any) -> None:
    with path.open("wb") as stream:
        stream.writelines(lines)


def _seconds(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", count, folder]:
            answer = fill(int(count), Path(folder))
        case ["write", connections, seconds, how]:
            answer = write(int(connections), float(seconds), how)
        case _:
            sys.exit("fill COUNT FOLDER, or write CONNECTIONS SECONDS HOW")
    print(json.dumps(answer))
