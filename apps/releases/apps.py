"""App configuration."""

from django.apps import AppConfig


class ReleasesConfig(AppConfig):
    """The intent to ship a version to an environment, and its journey."""

    name = "apps.releases"
    label = "releases"
