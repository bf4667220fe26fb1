"""What a starting worker takes back from a killed one."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from apps.registry.models import ModelVersion
from controlplane.db.holders import LAYOUT, is_dead, new_token
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


def test_what_a_dead_process_held_is_freed_and_what_the_living_hold_is_not() -> None:
    mine, theirs, elsewhere = (factories.version() for _ in range(3))
    ModelVersion.objects.update(next_reconcile_at=NOW, lease_expires_at=NOW + timedelta(hours=1))
    script = "from controlplane.db.holders import new_token; print(new_token())"
    gone = subprocess.check_output([sys.executable, "-c", script], text=True).strip()
    for version, token in ((mine, new_token()), (theirs, UUID(gone)), (elsewhere, uuid4())):
        ModelVersion.objects.filter(pk=version.pk).update(lease_token=token)

    assert recovery.free_leases_of_the_dead() == 1

    (free,) = claim_due(ModelVersion, now=NOW, lease=timedelta(minutes=2))
    assert free.row.pk == theirs.pk


def test_a_pool_process_that_is_killed_in_a_pass_is_told_from_one_that_lives() -> None:
    script = (
        "import os, time; from controlplane.db.holders import new_token\n"
        "print(new_token(), flush=True)\n"
        "child = os.fork()\n"
        "if child == 0: print(new_token(), flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        parent, child = (UUID(process.stdout.readline().strip()) for _ in range(2))
        assert parent != child
        assert not is_dead(parent)
        assert not is_dead(child)
        os.kill(LAYOUT.unpack(child.bytes)[1], signal.SIGKILL)
        while not is_dead(child):  # at once, though nobody has collected it yet
            time.sleep(0.01)
        assert not is_dead(parent)
        os.killpg(process.pid, signal.SIGKILL)
    assert is_dead(parent)
