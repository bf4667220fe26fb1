"""App configuration."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """What revisions did, minute by minute."""

    name = "apps.monitoring"
    label = "monitoring"
