"""Settings of the embedded stack and of a developer's machine."""

from controlplane.project.settings.base import *
from controlplane.project.settings.env import BadSetting

if ENV.mode == "production":
    raise BadSetting(
        "MODELYARD_MODE is production, but these are the settings for one machine; "
        "set DJANGO_SETTINGS_MODULE=controlplane.project.settings.production."
    )
