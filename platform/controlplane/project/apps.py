"""App configuration."""

from django.apps import AppConfig

from controlplane.project import checks, logs


class ProjectConfig(AppConfig):
    """The project itself: its commands and its checks."""

    name = "controlplane.project"
    label = "project"
    registered = (checks,)  # registering is a matter of importing

    def ready(self) -> None:
        """Have our own events logged like everybody else's."""
        logs.configure()
