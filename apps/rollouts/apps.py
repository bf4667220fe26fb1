"""App configuration."""

from django.apps import AppConfig


class RolloutsConfig(AppConfig):
    """Moving an endpoint's traffic to what was authorized."""

    name = "apps.rollouts"
    label = "rollouts"
