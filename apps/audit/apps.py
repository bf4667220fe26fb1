"""App configuration."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The ledger of who changed what, and why."""

    name = "apps.audit"
    label = "audit"
