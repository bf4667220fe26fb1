"""What must be right before anything starts; `manage.py check` and every process ask it."""

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register, run_checks
from django.core.exceptions import ImproperlyConfigured

TAG = "modelyard"


def refuse_misconfigured() -> None:
    """Stop a process that could only do harm.

    Raises:
        ImproperlyConfigured: With every error and what to do about it.
    """
    errors = [found for found in run_checks(tags=[TAG]) if found.is_serious()]
    if errors:
        raise ImproperlyConfigured("\n".join(f"{e.msg} {e.hint or ''}" for e in errors))


@register(TAG)
def home_is_writable(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """Blobs and bundles must have somewhere to go."""
    folder = settings.BLOB_ROOT.parent
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK | os.X_OK):
        return []
    return [
        Error(
            f"MODELYARD_HOME ({settings.BLOB_ROOT.parent}) cannot be written: {folder} is closed.",
            hint="Give this account the folder, or set MODELYARD_HOME to another.",
            id="modelyard.E001",
        )
    ]


@register(TAG)
def public_address_is_answered(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """The address that people are given must be one that the web answers to."""
    host = urlsplit(settings.PUBLIC_URL).hostname or ""
    allowed = [name.strip("[]") for name in settings.ALLOWED_HOSTS]
    covered = any(host == a or (a.startswith(".") and host.endswith(a)) for a in allowed)
    if covered:
        return []
    return [
        Error(
            f"MODELYARD_PUBLIC_URL names {host}, which MODELYARD_HOSTS does not list.",
            hint=f"Add {host} to MODELYARD_HOSTS.",
            id="modelyard.E002",
        )
    ]


@register(TAG)
def static_files_are_collected(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:
    """Production serves what `collectstatic` has made."""
    if settings.WHITENOISE_USE_FINDERS or (settings.STATIC_ROOT and settings.STATIC_ROOT.exists()):
        return []
    return [
        Warning(
            f"{settings.STATIC_ROOT} is missing: pages would come without their looks.",
            hint="Run `manage.py collectstatic --noinput` once per version.",
            id="modelyard.W001",
        )
    ]
