"""App configuration."""

from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    """Judging a canary against the stable revision."""

    name = "apps.analysis"
    label = "analysis"
