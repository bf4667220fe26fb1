"""What stops a process before it can do harm."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from controlplane.project import checks


def test_a_right_configuration_passes(settings: Any, tmp_path: Path) -> None:
    settings.BLOB_ROOT = tmp_path / "home" / "blobs"
    checks.refuse_misconfigured()


@pytest.mark.parametrize(
    ("hosts", "address", "passes"),
    [
        (["yard.example.org"], "https://yard.example.org", True),
        ([".example.org"], "https://yard.example.org", True),
        (["[::1]"], "http://[::1]:8000", True),
        (["example.org"], "https://yard.example.org", False),
        (["yard.example.org"], "https://example.org", False),
    ],
)
def test_the_public_address_must_be_one_that_is_answered(
    settings: Any, hosts: list[str], address: str, passes: bool
) -> None:
    settings.ALLOWED_HOSTS, settings.PUBLIC_URL = hosts, address
    if passes:
        checks.refuse_misconfigured()
    else:
        with pytest.raises(ImproperlyConfigured, match="MODELYARD_HOSTS"):
            checks.refuse_misconfigured()


def test_a_home_below_a_file_is_refused(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.BLOB_ROOT = tmp_path / "file" / "blobs"
    with pytest.raises(ImproperlyConfigured, match="cannot be written"):
        checks.refuse_misconfigured()
