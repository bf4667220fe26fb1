"""Writing to the ledger."""

from typing import Any

import structlog
from django.db import connection

from apps.audit.models import AuditEvent
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock


def record(
    *,
    actor: Actor,
    verb: str,
    target: str,
    subject: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> AuditEvent:
    """Append one event. Call it inside the transaction that makes the change.

    Args:
        actor: Who did it.
        verb: What was done, as in the access table ("registry.version.register").
        target: The object, as "kind/public-id".
        subject: What a person calls the object ("card-fraud-score v42").
        before: The columns that changed, as they were.
        after: The columns that changed, as they are.
        reason: Why, in the actor's words.

    Raises:
        RuntimeError: No transaction is open, so the change and its event could come apart.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"audit.record({verb!r}) outside a transaction")
    return AuditEvent.objects.create(
        at=SystemClock().now(),
        actor_kind=actor.kind,
        actor_name=actor.name,
        verb=verb,
        target=target,
        subject=subject,
        before=before or {},
        after=after or {},
        reason=reason,
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
    )
