"""Processes of the whole stack are killed at random moments of rollouts; each ends as it must."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controlplane.cli.client import Client
from controlplane.cli.stack import Stack, running
from tests.chaos import killing
from tests.chaos.play import Script, play
from tests.chaos.records import Fate

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

FATES = ((Fate.FAILS, Fate.GOOD), (Fate.GOOD,), (Fate.ABORTED, Fate.GOOD), (Fate.CRASHES,))


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack of its own: other journeys must not meet its kills."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another user when we are root
        with running(home, seconds=180) as started:
            yield started


def test_every_rollout_ends_as_it_must_though_every_kind_of_process_is_killed(
    own_stack: Stack, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10_000)
    kinds = random.Random(seed).sample(killing.KINDS, len(killing.KINDS))
    script = Script(seed, ("chaos-a", "chaos-b"), FATES, kinds, pause=(1.0, 3.0))
    with closing(Client(own_stack.web, own_stack.token("chaos"), patience=90)) as client:
        report = play(own_stack, client, script, folder=tmp_path)
    print(report)
    assert report.violations == [], str(report)
    assert {kill.kind for kill in report.kills} == set(killing.KINDS), str(report)
