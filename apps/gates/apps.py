"""App configuration."""

from django.apps import AppConfig


class GatesConfig(AppConfig):
    """The readiness checklist: policies, gates, evidence, waivers."""

    name = "apps.gates"
    label = "gates"
