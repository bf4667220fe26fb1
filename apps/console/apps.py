"""App configuration."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Pages across apps: home, search."""

    name = "apps.console"
    label = "console"
