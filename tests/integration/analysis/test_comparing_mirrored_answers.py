"""A real proxy copies real requests to a candidate, and what both answer is compared."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from dataclasses import replace as but
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from apps.analysis.comparator import Comparator, Looked
from apps.analysis.domain import comparison
from apps.analysis.domain.comparison import Comparison
from apps.endpoints.domain.values import Route, Share
from controlplane.drivers.local.answers import PATH, LocalAnswers
from controlplane.project.settings.test import TEST_HOME
from tests import model_servers as made
from tests.model_servers import Server, estimator, features
from tests.serving import World, now, question, wait_for, world

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("runtimes")]

ROWS = range(0, 569, 4)
ROUTE = Route(
    endpoint="abc", generation=1, environment="dev", name=made.NAME, shares=(),
    unavailable="Nobody is ready.", timeout_ms=5000, max_request_bytes=100_000, admitted=None,
    candidate=2,
)  # fmt: skip


@dataclass
class Shadow:
    """An endpoint whose requests are copied to a candidate, and who compares the answers."""

    world: World
    stable: Server
    canary: Server
    log: LocalAnswers
    cursor: dict[str, Any] = field(default_factory=dict)
    total: Comparison = field(default_factory=Comparison)

    def mirror(self, percent: int) -> None:
        shares = (Share(1, 100, (port(self.stable),)), Share(2, 0, (port(self.canary),)))
        route = but(ROUTE, shares=shares, mirror=percent)
        self.world.router.apply(route)

    def ask(self, rows: range = ROWS) -> None:
        path = f"/dev/{made.NAME}/v2/models/{made.NAME}/infer"
        with httpx.Client(base_url=self.world.url) as client:
            for row in rows:
                answer = client.post(path, json=question(row))
                assert answer.headers["x-modelyard-revision"] == "1"
                assert answer.status_code == 200

    def look(self) -> Looked:
        looked = Comparator(self.log).look(
            self.cursor,
            stable_ports=[port(self.stable)],
            canary_ports=[port(self.canary)],
            now=now(),
        )
        self.cursor, self.total = looked.cursor, looked.added_to(self.total)
        return looked

    def look_until(self, done: Callable[[Comparison], bool]) -> Comparison:
        deadline = time.monotonic() + 20
        while not done(self.total):
            assert time.monotonic() < deadline, self.total
            self.look()
            time.sleep(0.05)
        return self.total


def port(server: Server) -> int:
    return int(server.plan.address.rpartition(":")[2])


def other_estimator() -> Any:
    """Return a classifier that has learnt too little, and so answers otherwise now and then."""
    made_of = make_pipeline(StandardScaler(), LogisticRegression(C=1e-4))
    return made_of.fit(features().astype(np.float64), load_breast_cancer().target)


@pytest.fixture(scope="module")
def outside() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder, world(Path(folder)) as w:
        yield w


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    root = tmp_path_factory.mktemp("shadow")
    other = to_onnx(other_estimator(), features()[:1], options={"zipmap": False})
    bundles = (
        made.onnx_bundle(root / "stable"),
        made.onnx_bundle_of(root / "canary", other.SerializeToString()),
    )
    stable, canary = (made.planned("onnxruntime", bundle, TEST_HOME) for bundle in bundles)
    with made.serving(stable) as one, made.serving(canary) as two:
        yield one, two


@pytest.fixture
def shadow(outside: World, servers: tuple[Server, Server]) -> Iterator[Shadow]:
    log = LocalAnswers()
    found = Shadow(outside, *servers, log)
    found.look()  # what earlier tests left
    found.total = Comparison()
    yield found
    log.close()
    (outside.home / "envoy" / "table.json").unlink(missing_ok=True)


def test_every_mirrored_request_is_compared_and_differs_where_the_models_do(
    shadow: Shadow,
) -> None:
    shadow.mirror(100)
    shadow.ask()
    total = shadow.look_until(lambda found: found.pairs >= len(ROWS))
    rows = features()[list(ROWS)].astype(float)
    ours, theirs = estimator().predict(rows), other_estimator().predict(rows)
    flips = int((ours != theirs).sum())
    assert flips > 0
    assert (total.pairs, total.flips, total.labelled) == (len(ROWS), flips, len(ROWS))
    assert {label: pairs for label, (pairs, _) in total.slices.items()} == {
        str(label): int((ours == label).sum()) for label in (0, 1)
    }
    # Probabilities differ everywhere: so does every answer.
    assert total.agreeing == 0
    assert (total.canary_errors, total.unmatched_canary, total.lost) == (0, 0, 0)
    assert f"{flips} labels flipped" in comparison.sentence(total)
    assert total.examples[0].stable.startswith("label: ")


def test_only_what_was_copied_is_compared(shadow: Shadow) -> None:
    shadow.mirror(30)
    shadow.ask()
    time.sleep(0.5)
    shadow.look()
    assert 0.05 * len(ROWS) < shadow.total.pairs < 0.7 * len(ROWS)
    assert shadow.total.unmatched_canary == 0


def test_nothing_is_kept_of_what_is_not_copied(shadow: Shadow) -> None:
    def newest() -> list[int]:
        sides = shadow.look().cursor.values()
        return [reached["last"] for side in sides for reached in side.values()]

    shadow.mirror(0)
    before = newest()
    shadow.ask(range(20))
    time.sleep(0.3)
    assert newest() == before
    assert shadow.total.pairs == 0


def test_callers_cannot_read_kept_answers(shadow: Shadow) -> None:
    shadow.mirror(100)
    shadow.ask(range(3))
    start = f"{shadow.world.url}/dev/{made.NAME}"
    ways = [PATH, f"/v2/..{PATH}", f"/v2{PATH}", f"/v2/models/{made.NAME}/../..{PATH}", f"/{PATH}"]
    assert httpx.get(f"{start}/v2/models/{made.NAME}").status_code == 200
    for way in ways:
        assert httpx.get(f"{start}{way}").status_code == 404, way


def test_a_candidate_that_is_restarted_costs_what_it_kept_and_no_more(shadow: Shadow) -> None:
    shadow.mirror(100)
    shadow.ask(range(10))
    shadow.look_until(lambda found: found.pairs == 10)
    made.stop(shadow.canary)
    shadow.canary.process = made.start(shadow.canary.plan).process
    made.wait_until_ready(shadow.canary)
    shadow.ask(range(10))
    wait_for(lambda: shadow.look() is not None and shadow.total.pairs == 20)
    assert (shadow.total.restarts, shadow.total.lost) == (1, 0)
