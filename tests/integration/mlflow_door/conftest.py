"""MLflow's door on a free port, before a real MLflow server."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.actor import Role
from tests import factories
from tests.integration.door import open_door


@pytest.fixture
def store(mlflow_url: str) -> Iterator[MlflowStore]:
    with closing(MlflowStore(mlflow_url)) as driver:
        yield driver


@pytest.fixture
def door(mlflow_url: str, settings: Settings, tmp_path: Path) -> Iterator[str]:
    settings.MLFLOW_URL = mlflow_url
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "apps.registry.blobs.BlobFolder",
            "OPTIONS": {"location": str(tmp_path / "blobs")},
        },
    }
    with open_door() as url:
        yield url


@pytest.fixture
def secret() -> str:
    factories.team(slug="fraud")
    return factories.token(role=Role.CONTRIBUTOR)[1]
