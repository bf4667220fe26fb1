"""App configuration."""

from django.apps import AppConfig


class EnvironmentsConfig(AppConfig):
    """Where requests are served."""

    name = "apps.environments"
    label = "environments"
