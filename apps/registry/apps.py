"""App configuration."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Registered models and their immutable versions."""

    name = "apps.registry"
    label = "registry"
