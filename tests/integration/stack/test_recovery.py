"""What a starting worker takes back from a killed one."""

from datetime import timedelta

import pytest

from apps.registry.models import ModelVersion
from controlplane.db.reconcile import claim_due
from controlplane.kernel.clock import SystemClock
from tests import factories
from workers import recovery

pytestmark = pytest.mark.django_db

NOW = SystemClock().now()


def test_rows_of_a_killed_worker_are_due_again_at_once() -> None:
    version = factories.version()
    ModelVersion.objects.filter(pk=version.pk).update(next_reconcile_at=NOW)
    (lost,) = claim_due(ModelVersion, now=NOW, lease=timedelta(minutes=2))
    assert claim_due(ModelVersion, now=NOW, lease=timedelta(minutes=2)) == []

    assert recovery.free_leases() == 1

    (again,) = claim_due(ModelVersion, now=NOW, lease=timedelta(minutes=2))
    assert again.row.pk == version.pk
    assert lost.record(next_at=None) is False  # the killed worker writes nothing any more
