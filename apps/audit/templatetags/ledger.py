"""Entries of the ledger as a person reads them."""

import json
from dataclasses import dataclass
from typing import Any

from django import template

from apps.audit.domain.words import Told, tell
from apps.audit.models import AuditEvent, Seal

register = template.Library()


@dataclass(frozen=True)
class Line:
    """One column that changed; None on the side where it is not named.

    Attributes:
        name: The column.
        before: What it was, as text.
        after: What it is, as text.
    """

    name: str
    before: str | None
    after: str | None


@register.filter
def told(event: AuditEvent) -> Told:
    """Return an entry as a sentence."""
    return tell(
        at=event.at,
        actor_kind=event.actor_kind,
        actor_name=event.actor_name,
        verb=event.verb,
        subject=event.subject,
        reason=event.reason,
    )


@register.filter
def seal_of(event: AuditEvent) -> Seal | None:
    """Return the entry's place in the chain; None until it has one."""
    found: Seal | None = getattr(event, "seal", None)
    return found


@register.filter
def changes(event: AuditEvent) -> list[Line]:
    """Return what an entry says that changed, column by column, in the order it was written."""
    names = [*event.before, *(name for name in event.after if name not in event.before)]
    return [
        Line(name.replace("_", " "), _text(event.before, name), _text(event.after, name))
        for name in names
    ]


def _text(columns: dict[str, Any], name: str) -> str | None:
    if name not in columns:
        return None
    match columns[name]:
        case None:
            return "none"
        case bool(value):
            return "yes" if value else "no"
        case list(values):
            return ", ".join(str(v) for v in values) or "none"
        case dict(values):
            return json.dumps(values, ensure_ascii=False)
        case value:
            return str(value)
