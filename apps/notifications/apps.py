"""App configuration."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Tells people what waits for them or went wrong."""

    name = "apps.notifications"
    label = "notifications"
