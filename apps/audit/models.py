"""The ledger."""

from typing import ClassVar

import pgtrigger
from django.db import models


class AuditEvent(models.Model):
    """One change: who, what, to which object, from what, to what, and why."""

    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=9)
    actor_name = models.CharField(max_length=200)
    verb = models.CharField(max_length=64)
    target = models.CharField(max_length=200)  # "version/3f9k2m..."; kind and public id
    subject = models.CharField(max_length=300, blank=True)  # what a person calls it
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        indexes: ClassVar = [
            models.Index(fields=["target", "-id"], name="audit_by_target"),
            models.Index(fields=["actor_name", "-id"], name="audit_by_actor"),
            models.Index(fields=["verb", "-id"], name="audit_by_verb"),
        ]
        triggers: ClassVar = [
            pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete),
            pgtrigger.Trigger(
                name="never_truncated",
                level=pgtrigger.Statement,
                when=pgtrigger.Before,
                operation=pgtrigger.Truncate,
                func="RAISE EXCEPTION 'The audit ledger is append-only: it cannot be truncated.';",
            ),
        ]

    def __str__(self) -> str:
        """Name the event uniquely."""
        return f"#{self.pk} {self.actor_name} {self.verb} {self.target}"
