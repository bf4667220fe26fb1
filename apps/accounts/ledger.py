"""Who may read the ledger, and what for: the questions that REST and the page both ask."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils.dateparse import parse_date, parse_datetime

from apps.accounts.domain import access
from apps.audit import bundles, exporting, keys, selectors
from apps.audit import services as audit
from apps.audit.domain import signing
from apps.audit.models import AuditEvent, Checkpoint
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid

PARAMETERS = ("actor", "target", "verb", "q", "since", "until")
FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


@dataclass(frozen=True)
class Export:
    """A file that is made while it is sent.

    Attributes:
        name: What to call it.
        content_type: Its media type.
        lines: Its lines, with their line feeds.
    """

    name: str
    content_type: str
    lines: Iterator[bytes]


@dataclass(frozen=True)
class PublicKey:
    """What somebody outside checks our signatures with.

    Attributes:
        use: What it signs: "ledger" or "bundle".
        algorithm: Its kind.
        id: Its name in signed lines; "" where they need none.
        pem: The key itself.
    """

    use: str
    algorithm: str
    id: str
    pem: str


def events(actor: Actor, asked: Mapping[str, str]) -> QuerySet[AuditEvent]:
    """Return the events that the parameters of a query ask for, newest first.

    Raises:
        Denied: The actor may not read the ledger.
        Invalid: A time is not a time.
    """
    access.require(actor, "audit.read")
    return selectors.events(_search(asked)).select_related("seal")


def health(actor: Actor, now: datetime) -> selectors.Health:
    """Return how much of the ledger is proven.

    Raises:
        Denied: The actor may not read the ledger.
    """
    access.require(actor, "audit.read")
    return selectors.health(now=now)


def checkpoints(actor: Actor) -> QuerySet[Checkpoint]:
    """Return the checkpoints, newest first.

    Raises:
        Denied: The actor may not read the ledger.
    """
    access.require(actor, "audit.read")
    return selectors.checkpoints()


def public_keys(actor: Actor) -> list[PublicKey]:
    """Return the keys that checkpoints, exports and bundles are checked with.

    Raises:
        Denied: The actor may not read the ledger.
    """
    access.require(actor, "audit.read")
    signer = keys.signer()
    return [
        PublicKey("ledger", signing.ALGORITHM, signer.key_id, signer.public_pem().decode()),
        PublicKey("bundle", "ECDSA P-256", "", bundles.public_key().decode()),
    ]


def export(actor: Actor, asked: Mapping[str, str], now: datetime) -> Export:
    """Return what the parameters ask for as a file, and record that it was asked for.

    Without any parameter, JSON Lines are the whole chain with its checkpoints.

    Raises:
        Denied: The actor may not export the ledger.
        Invalid: The format is unknown, or a time is not a time.
    """
    access.require(actor, "audit.export")
    form = _format(asked.get("format", ""))
    search = _search(asked)
    with transaction.atomic():
        audit.record(
            actor=actor,
            verb="audit.export",
            target="ledger/events",
            subject="the ledger" if not search.words() else "a search of the ledger",
            after={"format": form, **search.words()},
        )
    name = f"ledger-{now:%Y%m%d-%H%M%S}.{form}"
    return Export(name, FORMATS[form], _lines(form, search, now))


def _lines(form: str, search: selectors.Search, now: datetime) -> Iterator[bytes]:
    if form == "csv":
        return exporting.table(search=search)
    signer = keys.signer()
    if not search.words():
        return exporting.whole(signer=signer, at=now)
    return exporting.selection(signer=signer, at=now, search=search)


def _format(given: str) -> str:
    form = given or "jsonl"
    if form not in FORMATS:
        raise Invalid(
            f"format={given[:40]} is not a format of the export.",
            remedy="Use jsonl, which can be verified, or csv, for a spreadsheet.",
            field="format",
            code="audit.bad_format",
        )
    return form


def _search(asked: Mapping[str, str]) -> selectors.Search:
    return selectors.Search(
        actor=asked.get("actor", "").strip(),
        target=asked.get("target", "").strip(),
        verb=asked.get("verb", "").strip(),
        text=asked.get("q", "").strip(),
        since=_moment(asked, "since"),
        until=_moment(asked, "until"),
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
