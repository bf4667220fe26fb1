"""What tests of REST share."""

import pytest

from tests.api.house import House, build


@pytest.fixture
def house() -> House:
    """Return one object of each kind, of team fraud, in dev."""
    return build()
