"""What gates ask of the outside, held to real files, servers, a real proxy and real load."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apps.endpoints import services
from apps.endpoints.domain import keys
from apps.endpoints.domain.examples import address
from apps.endpoints.facts import spec_of
from apps.endpoints.models import Endpoint, Revision
from apps.gates.domain import load
from apps.gates.domain.finding import Verdict
from apps.gates.domain.load import Goal, LoadPlan, LoadReport, LoadState
from controlplane.drivers.local import load as driver
from controlplane.drivers.local.load import LocalLoad
from controlplane.drivers.oci.layout import OciLayout
from controlplane.drivers.oci.reading import BundleReader
from controlplane.kernel.errors import Permanent
from tests import factories, serving
from tests.serving import World, question

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving.world(tmp_path_factory.mktemp("gates")) as made:
        yield made


@pytest.fixture(autouse=True)
def keys_of_the_proxy(world: World, settings: Any) -> None:
    settings.ENDPOINT_KEYS = world.home / "secrets" / "endpoint-keys"


@pytest.fixture
def live(world: World) -> Iterator[Revision]:
    """Yield a live revision of a real bundle, behind the real proxy."""
    variant = factories.variant(bundle_digest=world.onnx_bundle(), size=10_000)
    endpoint = factories.endpoint(model=variant.version.model)
    factories.revision(
        endpoint=endpoint, variant=variant, state="pending", observed_weight=0, live_at=None
    )
    world.drive(endpoint, lambda e: e.revisions.filter(state="live", observed_weight=100).exists())
    yield endpoint.revisions.get()
    endpoint.retired_at = serving.now()
    endpoint.next_reconcile_at = serving.now()
    endpoint.generation += 1
    endpoint.save()
    endpoint.revisions.update(state="draining")
    world.drive(endpoint, lambda e: not e.revisions.filter(ended_at=None).exists())


def plan_for(world: World, row: Revision, **change: object) -> LoadPlan:
    where = address(
        world.url, environment=row.endpoint.environment.slug, name=row.endpoint.name,
        inputs=question()["inputs"], signature=[], key_required=False,
    )  # fmt: skip
    told = LoadPlan(
        url=where.infer, body=where.body, rate=100, seconds=3, slow_ms=250, timeout_ms=2000
    )
    return replace(told, **change)  # type: ignore[arg-type]  # columns of the plan


def ended(tests: LocalLoad, name: str, *, seconds: float = 40) -> LoadReport:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        report = tests.observe(name)
        if report.state is not LoadState.RUNNING:
            return report
        time.sleep(0.05)
    raise AssertionError("the load test never ended")


def test_load_goes_through_the_proxy_to_exactly_that_revision(
    world: World, live: Revision, tmp_path: Path
) -> None:
    tests = LocalLoad(tmp_path)
    tests.start("abc-1-2-0", plan_for(world, live))
    tests.start("abc-1-2-0", plan_for(world, live))  # asking twice is asking once
    assert tests.observe("abc-1-2-0").state is LoadState.RUNNING
    report = ended(tests, "abc-1-2-0")
    assert report.state is LoadState.DONE, report
    assert report.result is not None
    assert report.result.answered == report.result.sent > 200
    assert report.result.revisions == {str(live.number): report.result.answered}
    goal = Goal(rate=100, availability=0.99, latency_ms=2000, latency_share=0.5)
    lenient = replace(report.result, late=0)  # this machine may be busy
    assert load.judge(lenient, goal, revision=live.number).verdict is Verdict.PASSED
    assert tests.names() == ["abc-1-2-0"]
    tests.discard("abc-1-2-0")
    assert tests.names() == []
    assert tests.observe("abc-1-2-0").state is LoadState.ABSENT


def test_an_address_that_nobody_answers_at_fails_every_request(
    world: World, live: Revision, tmp_path: Path
) -> None:
    tests = LocalLoad(tmp_path)
    plan = plan_for(world, live)
    tests.start("abc-1-2-1", replace(plan, url=plan.url.replace("/v2/", "/nothing/v2/")))
    result = ended(tests, "abc-1-2-1").result
    assert result is not None
    assert result.answered == 0
    assert sum(result.errors.values()) == result.sent


def test_an_endpoint_that_asks_for_keys_is_asked_with_one(
    world: World, live: Revision, tmp_path: Path
) -> None:
    endpoint = Endpoint.objects.get(pk=live.endpoint_id)
    services.create_key(
        actor=factories.actor_with("admin"), endpoint=endpoint.public_id, name="somebody"
    )

    def asks_for_keys(_: Endpoint) -> bool:
        body = question()
        return world.infer(endpoint.environment.slug, endpoint.name, body).status_code in (
            401,
            403,
        )

    world.drive(endpoint, asks_for_keys)
    expires = int(time.time()) + 120
    key = keys.mint(
        services.signing_seed(), name=keys.own_name(endpoint.public_id), expires=expires
    )
    tests = LocalLoad(tmp_path)
    tests.start("abc-1-3-0", plan_for(world, live, seconds=1.0))
    tests.start("abc-1-3-1", plan_for(world, live, seconds=1.0, key=key))
    without, with_key = (ended(tests, name).result for name in ("abc-1-3-0", "abc-1-3-1"))
    assert without is not None
    assert with_key is not None
    assert without.answered == 0
    assert with_key.answered == with_key.sent > 50


def test_a_generator_that_cannot_even_connect_says_so(tmp_path: Path) -> None:
    tests = LocalLoad(tmp_path)
    plan = LoadPlan("http://127.0.0.1:9/x", {}, rate=10, seconds=1, slow_ms=1, timeout_ms=100)
    tests.start("abc-1-2-2", plan)
    report = ended(tests, "abc-1-2-2")
    assert report.state is LoadState.FAILED
    assert "Connect" in report.problem


def test_a_test_that_was_killed_is_lost_and_can_be_begun_again(
    world: World, live: Revision, tmp_path: Path
) -> None:
    tests = LocalLoad(tmp_path)
    tests.start("abc-1-2-3", plan_for(world, live, seconds=30.0))
    serving.wait_for(lambda: (tmp_path / "loadtests/abc-1-2-3/pid").exists())
    driver._kill(tmp_path.resolve() / "loadtests/abc-1-2-3")
    serving.wait_for(lambda: tests.observe("abc-1-2-3").state is LoadState.LOST)
    tests.start("abc-1-2-3", plan_for(world, live, seconds=1.0))
    assert ended(tests, "abc-1-2-3").state is LoadState.DONE


def test_a_running_test_is_ended_when_it_is_discarded(
    world: World, live: Revision, tmp_path: Path
) -> None:
    tests = LocalLoad(tmp_path)
    tests.start("abc-1-2-4", plan_for(world, live, seconds=60.0))
    serving.wait_for(lambda: (tmp_path / "loadtests/abc-1-2-4/pid").exists())
    pid = int((tmp_path / "loadtests/abc-1-2-4/pid").read_text())
    tests.discard("abc-1-2-4")
    assert not Path(f"/proc/{pid}").exists()
    assert tests.names() == []


def test_golden_requests_are_answered_by_the_running_server(world: World, live: Revision) -> None:
    found = world.servers.ask_golden(spec_of(live.endpoint, live))
    assert found.asked == found.answered == 3
    assert found.digest == live.bundle_digest
    assert world.servers.free_memory_mb() > 0


def test_every_byte_of_a_bundle_is_read_and_hashed(world: World, tmp_path: Path) -> None:
    digest = world.onnx_bundle(seed=5)
    reader = BundleReader(world.bundles)
    found = reader.rehash(digest)
    assert found.problem == ""
    assert {e.path for e in found.files} == {"model.onnx", "golden.json"}
    assert found.size == sum(e.size for e in world.bundles.files(digest))
    assert reader.config(digest)["entry"] == "model.onnx"
    golden = reader.read(digest, "golden.json", limit=10**6)
    assert golden is not None
    assert json.loads(golden)["cases"]
    assert reader.read(digest, "golden.json", limit=10) is None
    assert reader.read(digest, "nothing", limit=10) is None


@pytest.mark.parametrize("spoil", ["changed", "shorter", "missing", "manifest"])
def test_a_bundle_that_is_not_what_it_is_called_is_found(tmp_path: Path, spoil: str) -> None:
    layout = OciLayout(tmp_path / "bundles")
    (tmp_path / "model").write_bytes(b"weights" * 100)
    digest = layout.write({"model": tmp_path / "model"}, {"schema": 1})
    name = digest if spoil == "manifest" else f"sha256:{layout.files(digest)[0].sha256}"
    blob = layout.root / "blobs" / "sha256" / name.removeprefix("sha256:")
    match spoil:
        case "missing":
            blob.unlink()
        case "shorter":
            blob.write_bytes(blob.read_bytes()[:-1])
        case _:
            blob.write_bytes(b"X" + blob.read_bytes()[1:])
    assert BundleReader(layout).rehash(digest).problem
    if spoil == "manifest":
        with pytest.raises(Permanent):
            BundleReader(layout).config(digest)
