"""App configuration."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People, teams, roles and API tokens."""

    name = "apps.accounts"
    label = "accounts"
