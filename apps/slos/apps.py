"""App configuration."""

from django.apps import AppConfig


class SlosConfig(AppConfig):
    """What a service promises: objectives of an endpoint."""

    name = "apps.slos"
    label = "slos"
