"""Reading the ledger.

Access is decided in an app above this one: whoever calls checks `audit.read` first.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, Max, Min, OuterRef, Q, QuerySet

from apps.audit.domain import chain
from apps.audit.models import AuditEvent, Checkpoint, Seal, SelfCheck

# Ids are given out when a row is written and not when it is committed: an event may appear below
# one that is sealed already. A look at what is unsealed goes this many ids back; a thorough one
# looks everywhere.
LOOK_BACK = 10_000
MOST_WAITING = 1_000
PATIENCE = timedelta(minutes=1)


@dataclass(frozen=True)
class Search:
    """What to look for; "" and None mean anything.

    Attributes:
        actor: The name of whoever acted, or its beginning up to a slash ("ada" finds "ada/ci").
        target: An object ("version/3f9k2m") or a kind of object ("version").
        verb: A verb ("registry.version.register") or its beginning ("registry").
        text: Part of the subject or the reason.
        since: The earliest moment.
        until: The first moment that is too late.
    """

    actor: str = ""
    target: str = ""
    verb: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def words(self) -> dict[str, str]:
        """Return what is looked for, as an export says it."""
        given = asdict(self)
        for name in ("since", "until"):
            given[name] = chain.moment(given[name]) if given[name] else ""
        return {name: value for name, value in given.items() if value}


def events(search: Search) -> QuerySet[AuditEvent]:
    """Return what `search` finds, newest first."""
    found = AuditEvent.objects.order_by("-id")
    if search.actor:
        found = found.filter(_whole_or_under("actor_name", search.actor, "/"))
    if search.target:
        found = found.filter(_whole_or_under("target", search.target, "/"))
    if search.verb:
        found = found.filter(_whole_or_under("verb", search.verb, "."))
    if search.text:
        in_words = Q(subject__icontains=search.text) | Q(reason__icontains=search.text)
        found = found.filter(in_words)
    if search.since is not None:
        found = found.filter(at__gte=search.since)
    if search.until is not None:
        found = found.filter(at__lt=search.until)
    return found


def of_target(target: str, *, limit: int = 50) -> list[AuditEvent]:
    """Return the latest events of one object, newest first."""
    return list(events(Search(target=target))[:limit])


@dataclass(frozen=True)
class Health:
    """How much of the ledger is proven, and whether the proof holds.

    Attributes:
        state: "broken" when the self-check found a change, "behind" when events have waited for
            their seal for longer than a minute, "empty", or "whole".
        position: The last place in the chain; 0 when nothing is sealed.
        waiting: Events that are not sealed yet; counted up to `MOST_WAITING`.
        waiting_since: When the oldest of them was written.
        checkpoint: The last checkpoint, if there is one.
        checked_at: When the self-check last read a part of the chain.
        whole_at: When it last came to the chain's end.
        broken_at: The position that is wrong.
        broken_since: When that was found.
        problem: What is wrong there.
    """

    state: str
    position: int
    waiting: int
    waiting_since: datetime | None
    checkpoint: Checkpoint | None
    checked_at: datetime | None
    whole_at: datetime | None
    broken_at: int | None
    broken_since: datetime | None
    problem: str


def health(*, now: datetime) -> Health:
    """Return how the ledger stands."""
    last = Seal.objects.order_by("-position").first()
    count, since = _waiting()
    seen = SelfCheck.objects.filter(pk=1).first() or SelfCheck(pk=1)
    behind = since is not None and now - since > PATIENCE
    healthy = "behind" if behind else "whole" if last or count else "empty"
    return Health(
        state="broken" if seen.broken_at is not None else healthy,
        position=last.position if last else 0,
        waiting=count,
        waiting_since=since,
        checkpoint=Checkpoint.objects.order_by("-number").first(),
        checked_at=seen.at,
        whole_at=seen.whole_at,
        broken_at=seen.broken_at,
        broken_since=seen.broken_since,
        problem=seen.problem,
    )


def checkpoints() -> QuerySet[Checkpoint]:
    """Return the checkpoints, newest first."""
    return Checkpoint.objects.order_by("-pk")


def unsealed(*, limit: int, thorough: bool = False) -> list[int]:
    """Return the ids of events without a seal, in their order.

    Args:
        limit: How many at most.
        thorough: Look at every event and not only at those near the end of the chain.
    """
    if thorough:
        found = AuditEvent.objects.filter(~Exists(Seal.objects.filter(event=OuterRef("pk"))))
        return list(found.order_by("id").values_list("id", flat=True)[:limit])
    latest = Seal.objects.aggregate(id=Max("event_id"))["id"] or 0
    ids = AuditEvent.objects.values_list("id", flat=True)
    window = Seal.objects.filter(event_id__gt=latest - LOOK_BACK).values_list("event_id")
    # Ranges of two indexes: a join would read both tables whole when very much is unsealed.
    late = ids.filter(id__gt=latest - LOOK_BACK, id__lte=latest).difference(window)
    fresh = ids.filter(id__gt=latest).order_by("id")[:limit]
    return sorted(late.union(fresh, all=True))[:limit]


def _waiting() -> tuple[int, datetime | None]:
    """Return how many events wait for their seal, and since when the oldest does."""
    ids = unsealed(limit=MOST_WAITING)
    if not ids:
        return 0, None
    return len(ids), AuditEvent.objects.filter(pk__in=ids).aggregate(at=Min("at"))["at"]


def event_values(event: AuditEvent) -> dict[str, Any]:
    """Return every column of an event, as the chain and the export write it."""
    return {
        "id": event.pk,
        "at": chain.moment(event.at),
        "actor_kind": event.actor_kind,
        "actor_name": event.actor_name,
        "verb": event.verb,
        "target": event.target,
        "subject": event.subject,
        "before": event.before,
        "after": event.after,
        "reason": event.reason,
        "request_id": event.request_id,
    }


def _whole_or_under(column: str, value: str, separator: str) -> Q:
    """Match `value` itself and whatever lies below it."""
    below = value if value.endswith(separator) else value + separator
    return Q(**{column: value.rstrip(separator)}) | Q(**{f"{column}__startswith": below})
