"""App configuration."""

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Who must say yes, who did, and to exactly what."""

    name = "apps.approvals"
    label = "approvals"
