"""App configuration."""

from django.apps import AppConfig


class EndpointsConfig(AppConfig):
    """Stable addresses, and the revisions behind them."""

    name = "apps.endpoints"
    label = "endpoints"
