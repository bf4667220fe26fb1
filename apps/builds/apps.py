"""App configuration."""

from django.apps import AppConfig


class BuildsConfig(AppConfig):
    """Turns a version into digest-addressed bundles."""

    name = "apps.builds"
    label = "builds"
