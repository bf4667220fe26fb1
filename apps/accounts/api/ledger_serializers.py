"""The ledger as JSON."""

from rest_framework import serializers

from apps.audit.models import AuditEvent


class AuditEventAnswer(serializers.ModelSerializer[AuditEvent]):
    """One change: who, what, to which object, from what, to what, and why."""

    class Meta:
        """Which columns are shown."""

        model = AuditEvent
        fields = (
            "id", "at", "actor_kind", "actor_name", "verb", "target", "subject", "before",
            "after", "reason", "request_id",
        )  # fmt: skip
