"""Looking at the rollouts in the database itself, which also goes on while the web is away."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from controlplane.db import holders
from controlplane.drivers.local import postgres
from tests.chaos.records import Event, Sample

EVERY = 0.15  # seconds between two looks
PATIENCE = 60.0  # seconds for the database to come back
Row = Mapping[str, Any]

LOOK = """
SELECT statement_timestamp() AS at, r.public_id AS rollout, r.state, r.step, r.release_number,
       r.ended_at, c.observed_weight AS weight, c.observed_replicas AS replicas,
       c.public_id AS candidate, s.public_id AS stable
FROM rollouts_rollout r
JOIN endpoints_revision c ON c.id = r.candidate_id
LEFT JOIN endpoints_revision s ON s.id = r.stable_id
ORDER BY r.id
"""
EVENTS = """
SELECT e.at, e.kind, e.facts FROM rollouts_rolloutevent e
JOIN rollouts_rollout r ON r.id = e.rollout_id WHERE r.public_id = %s ORDER BY e.id
"""
VERBS = "SELECT verb FROM audit_auditevent WHERE target = %s ORDER BY id"
LEASED = """
SELECT table_name FROM information_schema.columns
WHERE column_name = 'lease_token' AND table_schema = 'public' ORDER BY table_name
"""


class Watch:
    """Samples every rollout, and answers questions about them."""

    def __init__(self, home: Path) -> None:
        """Look into the database of the stack in `home`."""
        self._url = postgres.database_url(home)
        self._stop = threading.Event()
        self.samples: list[Sample] = []
        self.rows: dict[int, Row] = {}  # by the number of the release

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Sample while the block runs."""
        thread = threading.Thread(target=self._run, name="watch")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(PATIENCE)

    def of_release(self, number: int) -> Row | None:
        """Return the rollout of a release, as it was seen last; None before there is one."""
        return self.rows.get(number)

    def events(self, rollout: str) -> list[Event]:
        """Return the log of a rollout, oldest first."""
        return [Event(row["at"], row["kind"], row["facts"]) for row in self._ask(EVENTS, rollout)]

    def verbs(self, rollout: str) -> list[str]:
        """Return what the ledger says was done to a rollout."""
        rows = self._ask(VERBS, f"rollout/{rollout}")
        return [row["verb"].removeprefix("rollouts.") for row in rows]

    def stuck_leases(self) -> list[str]:
        """Return the leases that are held by the dead, or that ran out unnoticed."""
        found = []
        for (table,) in ((row["table_name"],) for row in self._ask(LEASED)):
            held = sql.SQL(
                "SELECT id, lease_token, next_reconcile_at, lease_expires_at < now() AS late "
                "FROM {} WHERE lease_token IS NOT NULL AND next_reconcile_at IS NOT NULL"
            ).format(sql.Identifier(table))
            found += [
                f"{table} {row['id']}" for row in self._ask(held)
                if row["late"] or holders.is_dead(UUID(str(row["lease_token"])))
            ]  # fmt: skip
        return found

    def _run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                self._look(connection)
            except psycopg.Error:
                connection = None  # the database was killed, and comes back
            time.sleep(EVERY)
        if connection is not None:
            connection.close()

    def _look(self, connection: "psycopg.Connection[Any]") -> None:
        for row in connection.execute(LOOK).fetchall():
            known = self.rows.get(row["release_number"])
            self.rows[row["release_number"]] = row
            if known is None or known["ended_at"] is None:
                self.samples.append(
                    Sample(row["at"], row["rollout"], row["state"], row["step"], row["weight"])
                )

    def _ask(self, query: Any, *values: Any) -> list[Row]:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with self._connect() as connection:
                    return list(connection.execute(query, values).fetchall())
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(EVERY)

    def _connect(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(self._url, autocommit=True, row_factory=dict_row, connect_timeout=5)


def moment(row: Row) -> datetime | None:
    """Return when a rollout ended; None while it has not."""
    ended: datetime | None = row["ended_at"]
    return ended
