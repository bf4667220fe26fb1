"""Reading the ledger.

Access is decided in an app above this one: whoever calls checks `audit.read` first.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from apps.audit.models import AuditEvent


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


def _whole_or_under(column: str, value: str, separator: str) -> Q:
    """Match `value` itself and whatever lies below it."""
    below = value if value.endswith(separator) else value + separator
    return Q(**{column: value.rstrip(separator)}) | Q(**{f"{column}__startswith": below})
