"""Bringing checklists in line with their policy, for whoever records why."""

from collections.abc import Sequence
from datetime import datetime

from apps.gates.domain.policy import GateRule
from apps.gates.models import Checklist, GateResult
from controlplane.db.nudge import nudge

KIND = "checklist"


def wake(pks: Sequence[int], now: datetime) -> None:
    """Make checklists due, taking each from a worker that holds it: its pass would not know."""
    Checklist.objects.filter(pk__in=pks, closed_at=None).update(
        next_reconcile_at=now, lease_token=None, lease_expires_at=None
    )
    for pk in pks:
        nudge(KIND, pk)


def relist(checklist: Checklist, rules: Sequence[GateRule], now: datetime) -> None:
    """Give a checklist exactly the results that `rules` ask for, keeping what is known.

    What hangs on a rule's parameters is found again: every gate is due.
    """
    names = [rule.gate for rule in rules]
    GateResult.objects.filter(checklist=checklist).exclude(gate__in=names).delete()
    for position, rule in enumerate(rules):
        GateResult.objects.update_or_create(
            checklist=checklist,
            gate=rule.gate,
            defaults={"position": position, "required": rule.required, "due_at": now},
            create_defaults={
                "position": position,
                "required": rule.required,
                "due_at": now,
                "state_since": now,
            },
        )
