"""Folders of this test's own for blobs and uploads."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def blobs_aside(settings: Any, tmp_path: Any) -> None:
    """Keep blobs and uploads below the test's folder."""
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "apps.registry.blobs.BlobFolder",
            "OPTIONS": {"location": str(tmp_path / "blobs")},
        },
    }
