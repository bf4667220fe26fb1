"""App configuration."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """The project itself: its commands and its checks."""

    name = "controlplane.project"
    label = "project"
