"""Settings of the test suite: a real PostgreSQL that `tests/conftest.py` starts."""

import os
import tempfile
from pathlib import Path

TEST_HOME = Path(
    os.environ.setdefault(
        "MODELYARD_HOME", str(Path(tempfile.gettempdir()) / f"modelyard-test-{os.getuid()}")
    )
)

from controlplane.drivers.local.postgres import socket_folder  # noqa: E402
from controlplane.project.settings.base import *  # noqa: E402

DATABASES["default"].update(
    NAME="modelyard", USER="modelyard", HOST=str(socket_folder(TEST_HOME)), PORT="5432"
)
CELERY_BROKER_URL = "memory://"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "blobs": STORAGES["blobs"],
}
WHITENOISE_USE_FINDERS = False  # every test's client would look for all files again
