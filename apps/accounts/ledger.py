"""Who may read the ledger, and what for: the question that REST and the page both ask."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta

from django.db.models import QuerySet
from django.utils.dateparse import parse_date, parse_datetime

from apps.accounts.domain import access
from apps.audit import selectors
from apps.audit.models import AuditEvent
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid

PARAMETERS = ("actor", "target", "verb", "q", "since", "until")


def events(actor: Actor, asked: Mapping[str, str]) -> QuerySet[AuditEvent]:
    """Return the events that the parameters of a query ask for, newest first.

    Raises:
        Denied: The actor may not read the ledger.
        Invalid: A time is not a time.
    """
    access.require(actor, "audit.read")
    return selectors.events(
        selectors.Search(
            actor=asked.get("actor", "").strip(),
            target=asked.get("target", "").strip(),
            verb=asked.get("verb", "").strip(),
            text=asked.get("q", "").strip(),
            since=_moment(asked, "since"),
            until=_moment(asked, "until"),
        )
    )


def _moment(asked: Mapping[str, str], name: str) -> datetime | None:
    """Return the moment given as a day or a time; `until` a day includes that day."""
    given = asked.get(name, "").strip()
    if not given:
        return None
    try:
        if day := parse_date(given):
            start = datetime.combine(day, time(), UTC)
            return start + timedelta(days=1) if name == "until" else start
        moment = parse_datetime(given)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise Invalid(
            f"{name}={given[:40]} is not a time.",
            remedy="Write 2026-11-19, or 2026-11-19T14:26:00Z.",
            field=name,
            code="audit.bad_time",
        )
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
