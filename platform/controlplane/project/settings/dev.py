"""Settings of the embedded stack and of a developer's machine."""

from controlplane.project.settings.base import *
