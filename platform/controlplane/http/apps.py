"""App configuration."""

from django.apps import AppConfig


class HttpConfig(AppConfig):
    """What the API and the web share: problems, permissions, template tags."""

    name = "controlplane.http"
    label = "http"
