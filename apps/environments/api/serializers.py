"""Environments as JSON."""

from rest_framework import serializers

from apps.environments.models import Environment
from controlplane.http.api import Command


class EnvironmentAnswer(serializers.ModelSerializer[Environment]):
    """Where requests are served."""

    class Meta:
        """Which columns are shown."""

        model = Environment
        fields = (
            "slug", "title", "rank", "cluster", "protected", "default_replicas", "max_replicas",
        )  # fmt: skip


class EditEnvironment(Command):
    """Change an environment; what is left out stays."""

    title = serializers.CharField(max_length=80, required=False)
    protected = serializers.BooleanField(required=False)
    default_replicas = serializers.IntegerField(min_value=1, max_value=64, required=False)
    max_replicas = serializers.IntegerField(min_value=1, max_value=64, required=False)
    reason = serializers.CharField(max_length=2000, allow_blank=True, required=False)
