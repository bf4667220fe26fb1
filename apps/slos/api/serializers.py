"""Objectives as JSON."""

from rest_framework import serializers

from apps.slos.models import ServiceObjective
from controlplane.http.api import Command


class ObjectiveAnswer(serializers.ModelSerializer[ServiceObjective]):
    """What callers of a model in an environment may expect, and how much they will ask."""

    model = serializers.CharField(source="model.name")
    environment = serializers.CharField(source="environment.slug")

    class Meta:
        """Which columns are shown."""

        model = ServiceObjective
        fields = (
            "model", "environment", "availability", "latency_ms", "latency_share", "window_days",
            "expected_peak_rps", "declared_by", "created_at", "changed_at",
        )  # fmt: skip


class DeclareObjective(Command):
    """Declare an objective; what was declared before is replaced."""

    availability = serializers.FloatField(
        default=0.999, help_text="Share of requests that are answered, in (0, 1)."
    )
    latency_ms = serializers.FloatField(
        help_text="A request counts as fast when it takes no longer, in milliseconds."
    )
    latency_share = serializers.FloatField(
        default=0.99, help_text="Share of requests that are fast, in (0, 1)."
    )
    window_days = serializers.IntegerField(
        default=28, help_text="Over how many days the shares are counted."
    )
    expected_peak_rps = serializers.FloatField(
        help_text="Requests per second in the busiest minute that is expected."
    )
    reason = serializers.CharField(max_length=2000, allow_blank=True, default="")
