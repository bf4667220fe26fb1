"""The ledger as JSON."""

from typing import Any

from rest_framework import serializers

from apps.audit.models import AuditEvent, Checkpoint


class AuditEventAnswer(serializers.ModelSerializer[AuditEvent]):
    """One change: who, what, to which object, from what, to what, and why."""

    position = serializers.IntegerField(
        source="seal.position",
        default=None,
        allow_null=True,
        help_text="Its place in the chain; null for the second or so until it is sealed.",
    )
    hash = serializers.CharField(
        source="seal.hash", default=None, allow_null=True, help_text="sha256, 64 hex digits."
    )

    class Meta:
        """Which columns are shown."""

        model = AuditEvent
        fields = (
            "id", "at", "actor_kind", "actor_name", "verb", "target", "subject", "before",
            "after", "reason", "request_id", "position", "hash",
        )  # fmt: skip


class CheckpointAnswer(serializers.ModelSerializer[Checkpoint]):
    """A signed statement of what the chain's last hash was."""

    line = serializers.CharField(
        help_text="As it was signed, and as it stands in exports: docs/ledger.md."
    )

    class Meta:
        """Which columns are shown."""

        model = Checkpoint
        fields = ("number", "at", "position", "hash", "line")


class HealthAnswer(serializers.Serializer[Any]):
    """How much of the ledger is proven, and whether the proof holds."""

    state = serializers.ChoiceField(["whole", "behind", "broken", "empty"])
    position = serializers.IntegerField(help_text="The last place in the chain; 0 for none.")
    waiting = serializers.IntegerField(help_text="Events that are not sealed yet.")
    waiting_since = serializers.DateTimeField(allow_null=True)
    checkpoint = CheckpointAnswer(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True)
    whole_at = serializers.DateTimeField(
        allow_null=True, help_text="When the self-check last came to the end of the chain."
    )
    broken_at = serializers.IntegerField(allow_null=True, help_text="The position that is wrong.")
    broken_since = serializers.DateTimeField(allow_null=True)
    problem = serializers.CharField(allow_blank=True)


class PublicKeyAnswer(serializers.Serializer[Any]):
    """What somebody outside checks our signatures with."""

    use = serializers.ChoiceField(["ledger", "bundle"])
    algorithm = serializers.CharField()
    id = serializers.CharField(allow_blank=True, help_text="Its name in signed lines.")
    pem = serializers.CharField()


class KeysAnswer(serializers.Serializer[Any]):
    """The public keys."""

    keys = PublicKeyAnswer(many=True)
