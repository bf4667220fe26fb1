"""The ledger, and what proves that it is whole.

Every table here is append-only by trigger. An event may leave the database on one path only: the
transaction names how far it drops (`modelyard.ledger_drop`), and the event is sealed, lies in a
segment that was written out, and is older than the six months (183 days) of the EU AI Act's
Articles 19 and 26. See docs/ledger.md.
"""

from typing import ClassVar

import pgtrigger
from django.db import models

NEVER_TRUNCATED = pgtrigger.Trigger(
    name="never_truncated",
    level=pgtrigger.Statement,
    when=pgtrigger.Before,
    operation=pgtrigger.Truncate,
    func="RAISE EXCEPTION 'The audit ledger is append-only: it cannot be truncated.';",
)
NEVER_CHANGED = pgtrigger.Protect(
    name="append_only", operation=pgtrigger.Update | pgtrigger.Delete
)


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
            models.Index(fields=["at"], name="audit_by_time"),
        ]
        triggers: ClassVar = [
            pgtrigger.Protect(name="never_updated", operation=pgtrigger.Update),
            pgtrigger.Trigger(
                name="dropped_only_when_kept_elsewhere",
                when=pgtrigger.Before,
                operation=pgtrigger.Delete,
                func="""
                IF NOT EXISTS (
                    SELECT 1 FROM audit_seal seal
                    JOIN audit_segment segment
                      ON seal.position BETWEEN segment.first AND segment.last
                    WHERE seal.event_id = OLD.id
                      AND seal.position <= COALESCE(
                        NULLIF(current_setting('modelyard.ledger_drop', true), ''), '0'
                      )::bigint
                      AND OLD.at < now() - interval '183 days'
                ) THEN
                    RAISE EXCEPTION 'The audit ledger is append-only: event % stays.', OLD.id;
                END IF;
                RETURN OLD;
                """,
            ),
            NEVER_TRUNCATED,
        ]

    def __str__(self) -> str:
        """Name the event uniquely."""
        return f"#{self.pk} {self.actor_name} {self.verb} {self.target}"


class Seal(models.Model):
    """Where one event stands in the chain. Written by one sealing pass at a time."""

    position = models.BigIntegerField(primary_key=True)
    # No constraint: checking it would lock, and so write, every event's row a second time.
    event = models.OneToOneField(AuditEvent, on_delete=models.DO_NOTHING, db_constraint=False)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        """Rules that hold whoever writes the row."""

        triggers: ClassVar = [
            pgtrigger.Protect(name="never_updated", operation=pgtrigger.Update),
            pgtrigger.Trigger(
                name="dropped_only_after_its_event",
                when=pgtrigger.Before,
                operation=pgtrigger.Delete,
                func="""
                IF OLD.position > COALESCE(
                        NULLIF(current_setting('modelyard.ledger_drop', true), ''), '0'
                      )::bigint
                   OR EXISTS (SELECT 1 FROM audit_auditevent WHERE id = OLD.event_id) THEN
                    RAISE EXCEPTION 'The audit ledger is append-only: seal % stays.', OLD.position;
                END IF;
                RETURN OLD;
                """,
            ),
            NEVER_TRUNCATED,
        ]

    def __str__(self) -> str:
        """Name the seal uniquely."""
        return f"seal #{self.position}"


class Checkpoint(models.Model):
    """A signed statement of what the chain's last hash was at one moment."""

    number = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    position = models.BigIntegerField(unique=True)
    hash = models.CharField(max_length=64)
    line = models.TextField()  # as it was signed, and as it stands in the export

    class Meta:
        """Rules that hold whoever writes the row."""

        triggers: ClassVar = [NEVER_CHANGED, NEVER_TRUNCATED]

    def __str__(self) -> str:
        """Name the checkpoint uniquely."""
        return f"checkpoint {self.number} at #{self.position}"


class Segment(models.Model):
    """A file of the export, written once: the events from `first` to `last`."""

    first = models.BigIntegerField(primary_key=True)
    last = models.BigIntegerField(unique=True)
    at = models.DateTimeField()
    name = models.CharField(max_length=100, unique=True)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(last__gte=models.F("first")), name="segment_is_not_empty"
            )
        ]
        triggers: ClassVar = [NEVER_CHANGED, NEVER_TRUNCATED]

    def __str__(self) -> str:
        """Name the segment uniquely."""
        return self.name


class SelfCheck(models.Model):
    """How far the ledger has been read over again, and what was found; one row.

    The only row of the ledger that changes: it is what was observed, not what happened.
    """

    at = models.DateTimeField()
    through = models.BigIntegerField(default=0)  # this round is right up to here
    whole_at = models.DateTimeField(null=True)  # when a round last came to the end
    broken_at = models.BigIntegerField(null=True)  # the position that is wrong
    broken_since = models.DateTimeField(null=True)
    problem = models.TextField(blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(id=1), name="one_self_check")
        ]

    def __str__(self) -> str:
        """Say what was found."""
        return self.problem or f"whole up to #{self.through}"
