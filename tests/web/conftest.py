"""Somebody signed in, and a yard with something in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client, override_settings

from apps.accounts.models import Person
from tests import factories, governed
from tests.governed import Governed


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path) -> Iterator[None]:
    """Keep each test's blobs and uploads to itself."""
    with override_settings(BLOB_ROOT=tmp_path / "blobs", UPLOAD_ROOT=tmp_path / "uploads"):
        yield


@pytest.fixture
def admin(db: None) -> Person:
    """Return an admin."""
    return factories.person(username="ada", role="admin")


@pytest.fixture
def ada(client: Client, admin: Person) -> Client:
    """Return a browser in which an admin is signed in."""
    client.force_login(admin)
    return client


@pytest.fixture
def viewer(db: None) -> Client:
    """Return a browser in which somebody is signed in who may only look."""
    somebody = Client()
    somebody.force_login(factories.person(username="vic", role="viewer"))
    return somebody


@pytest.fixture
def house(db: None) -> Governed:
    """Return a yard where releases to production need two approvals."""
    return governed.house()
