"""What approvals look like as JSON."""

from typing import Any

from rest_framework import serializers

from apps.approvals.models import ApprovalRequest, Delegation
from controlplane.http.api import Command


class RequestAnswer(serializers.ModelSerializer[ApprovalRequest]):
    """One question that waits for somebody."""

    id = serializers.CharField(source="public_id")
    environment = serializers.CharField(source="environment.slug")
    team = serializers.CharField(source="team.slug")

    class Meta:
        """Which columns are shown."""

        model = ApprovalRequest
        fields = (
            "id", "subject", "title", "environment", "team", "state", "digest", "digest_set",
            "proposed_by", "created_at", "expires_at",
        )  # fmt: skip


class InboxAnswer(serializers.Serializer[Any]):
    """What waits for the actor."""

    count = serializers.IntegerField()
    results = RequestAnswer(many=True)


class DelegationAnswer(serializers.ModelSerializer[Delegation]):
    """Somebody stands in for somebody."""

    id = serializers.CharField(source="public_id")
    person = serializers.CharField(source="person.username")
    substitute = serializers.CharField(source="substitute.username")

    class Meta:
        """Which columns are shown."""

        model = Delegation
        fields = ("id", "person", "substitute", "starts_at", "ends_at", "reason", "ended_at")


class Delegate(Command):
    """Let somebody stand in."""

    substitute = serializers.CharField(max_length=150)
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True)
