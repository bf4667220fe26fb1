"""Serving with nothing faked: PostgreSQL, Envoy, supervisord and ONNX Runtime."""

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.builds.models import Build, Variant
from apps.endpoints import selectors, services, trial
from apps.endpoints.domain import keys
from apps.endpoints.models import Endpoint
from apps.monitoring.reconcile import Measurer
from apps.monitoring.selectors import traffic
from apps.registry.models import ModelVersion
from controlplane.drivers.envoy.bootstrap import replace
from controlplane.kernel.actor import Role
from tests import factories
from tests.serving import World, now, question, rows_of, start_envoy, state_of, wait_for, world

REST = timedelta(seconds=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def outside() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder, world(Path(folder)) as w:
        yield w


@pytest.fixture(autouse=True)
def house(outside: World, settings: Any) -> None:
    """Have the services know where the proxy is, and what signs its keys."""
    settings.SERVING_URL = outside.url
    settings.ENDPOINT_KEYS = outside.home / "secrets" / "endpoint-keys"


@pytest.fixture
def admin() -> Any:
    return factories.actor_with(Role.ADMIN)


def built(outside: World, version: ModelVersion, kind: str = "onnx", **bundle: Any) -> Variant:
    digest = outside.onnx_bundle(**{"seed": version.number, **bundle})
    build, _ = Build.objects.get_or_create(version=version, number=1, requested_by="factory")
    return Variant.objects.create(
        build=build,
        version=version,
        kind=kind,
        state="built",
        verdict="passed",
        bundle_digest=digest,
        size=10_000,
        runtimes=["onnxruntime"],
        p50_ms=0.1,
    )


def serve(outside: World, actor: Any, version: ModelVersion, **how: Any) -> Endpoint:
    return services.serve(
        actor=actor,
        model=version.model.name,
        version=version.number,
        environment="dev",
        **how,
    ).endpoint


def live(outside: World, endpoint: Endpoint, number: int) -> Endpoint:
    """Run passes until the revision is live and nothing is left to do for a while."""
    outside.drive(endpoint, lambda e: state_of(e, number) == "live")
    return outside.drive(endpoint, is_at_rest)


def is_at_rest(endpoint: Endpoint) -> bool:
    return endpoint.next_reconcile_at is None or endpoint.next_reconcile_at > now() + REST


def test_a_version_is_served_and_replaced_without_a_failed_request(
    outside: World, admin: Any
) -> None:
    first = factories.version()
    built(outside, first)
    began = time.monotonic()
    endpoint = live(outside, serve(outside, admin, first), 1)
    print(f"\nserve to live: {time.monotonic() - began:.2f} s")
    answer = outside.infer("dev", endpoint.name, question(), headers={"X-Request-Id": "mine"})
    assert answer.status_code == 200, answer.text
    assert rows_of(answer.json(), "label") == [0]
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-modelyard-revision"] == "1"

    with under_load(outside, endpoint.name) as load:
        second = factories.version(model=first.model)
        built(outside, second)
        endpoint = live(outside, serve(outside, admin, second), 2)
        time.sleep(0.5)
    print(f"requests during the change: {load.answered}, failed: {load.failed[:3]}")
    assert load.failed == []
    assert load.answered > 100
    assert outside.infer("dev", endpoint.name, question()).headers["x-modelyard-revision"] == "2"


def test_a_model_that_does_not_load_says_why_and_the_live_one_answers_on(
    outside: World, admin: Any
) -> None:
    first = factories.version()
    built(outside, first)
    endpoint = live(outside, serve(outside, admin, first), 1)
    second = factories.version(model=first.model)
    built(outside, second, broken=True)
    serve(outside, admin, second)
    outside.drive(endpoint, lambda e: state_of(e, 2) == "failed", seconds=60)
    failed = endpoint.revisions.get(number=2)
    assert "onnx" in failed.problem.lower() or "model" in failed.problem.lower()
    assert failed.problem_code
    assert failed.remedy
    print("\n", failed.problem_code, failed.problem, "|", failed.remedy)
    outside.drive(endpoint, lambda e: e.revisions.get(number=2).ended_at is not None)
    assert outside.infer("dev", endpoint.name, question()).headers["x-modelyard-revision"] == "1"
    assert failed.public_id not in outside.servers.known()


def test_golden_requests_that_are_answered_otherwise_stop_a_revision(
    outside: World, admin: Any
) -> None:
    version = factories.version()
    built(outside, version, wrong=True)
    endpoint = serve(outside, admin, version)
    outside.drive(endpoint, lambda e: state_of(e, 1) == "failed")
    revision = endpoint.revisions.get()
    assert revision.problem_code == "golden.answers"
    assert "label" in revision.problem
    answer = outside.infer("dev", endpoint.name, question())
    assert answer.status_code == 503
    assert "no revision that is ready" in answer.json()["error"]


def test_a_killed_server_is_back_soon_and_its_other_replica_answers_meanwhile(
    outside: World, admin: Any
) -> None:
    version = factories.version()
    built(outside, version)
    endpoint = live(outside, serve(outside, admin, version, replicas=2), 1)
    victim = endpoint.revisions.get().observed_replicas[0]["pid"]
    with under_load(outside, endpoint.name, callers=1) as load:
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        wait_for(lambda: outside.watch() > 0)
        outside.drive(endpoint, lambda e: pids(e) > {0} and victim not in pids(e))
        print(f"\nback after {time.monotonic() - began:.1f} s; failed: {load.failed}")
    # What it was just answering is lost with it; what comes after goes to the other.
    assert len(load.failed) <= 1


def pids(endpoint: Endpoint) -> set[int]:
    replicas = endpoint.revisions.get(state="live").observed_replicas
    return {r["pid"] for r in replicas if r["state"] == "ready"} | {0}


def test_a_route_changed_by_hand_is_put_right(outside: World, admin: Any) -> None:
    version = factories.version()
    built(outside, version)
    endpoint = live(outside, serve(outside, admin, version), 1)
    path = outside.home / "envoy" / "rds.json"
    replace(path, json.loads(path.read_text().replace('"timeout":"10s"', '"timeout":"7s"')))
    wait_for(lambda: not outside.router.observe(endpoint.public_id).intact)
    assert outside.watch() == 1
    outside.drive(endpoint, lambda e: outside.router.observe(e.public_id).intact)


def test_an_envoy_that_lost_everything_is_told_again(outside: World, admin: Any) -> None:
    version = factories.version()
    built(outside, version)
    endpoint = live(outside, serve(outside, admin, version), 1)
    outside.supervisor.remove("envoy")
    shutil.rmtree(outside.home / "envoy")
    start_envoy(outside)
    wait_for(lambda: asked(outside, endpoint.name) == 404)  # its door opens after its admin's
    outside.watch()
    outside.drive(endpoint, lambda e: outside.infer("dev", e.name, question()).status_code == 200)


def asked(outside: World, name: str) -> int:
    """Return how a request is answered; 0 while nobody listens."""
    try:
        return outside.infer("dev", name, question()).status_code
    except httpx.ConnectError:
        return 0


def test_keys_let_in_those_who_hold_them_and_nobody_else(outside: World, admin: Any) -> None:
    version = factories.version()
    built(outside, version)
    endpoint = live(outside, serve(outside, admin, version), 1)
    key, secret = services.create_key(actor=admin, endpoint=endpoint.public_id, name="ci")

    def status(**headers: str) -> int:
        return outside.infer("dev", endpoint.name, question(), headers=headers).status_code

    outside.drive(endpoint, lambda e: status() == 401)
    assert status(**{"X-Api-Key": secret}) == 200
    assert status(Authorization=f"Bearer {secret}") == 200
    assert status(**{"X-Api-Key": secret[:-4] + "AAAA"}) == 401
    assert status(**{"X-Api-Key": keys.mint(services.signing_seed(), name="another")}) == 403
    own = trial.predict(
        actor=admin, endpoint=selectors.endpoint(admin, endpoint.public_id),
        body=question(), request_id="r1", now=now(),
    )  # fmt: skip
    assert own.revision == 1
    services.revoke_key(actor=admin, endpoint=endpoint.public_id, key=key.public_id)
    outside.drive(endpoint, lambda e: status(**{"X-Api-Key": secret}) == 403)
    assert secret not in (outside.home / "envoy" / "rds.json").read_text()


def test_replicas_come_and_go_and_a_retired_endpoint_leaves_nothing(
    outside: World, admin: Any
) -> None:
    version = factories.version()
    built(outside, version)
    endpoint = live(outside, serve(outside, admin, version), 1)
    revision = endpoint.revisions.get().public_id
    services.scale(actor=admin, endpoint=endpoint.public_id, replicas=3)
    outside.drive(endpoint, lambda e: len(pids(e)) == 4)
    with under_load(outside, endpoint.name) as load:
        services.scale(actor=admin, endpoint=endpoint.public_id, replicas=1)
        outside.drive(endpoint, lambda e: len(e.revisions.get().observed_replicas) == 1)
    assert load.failed == []
    services.retire(actor=admin, endpoint=endpoint.public_id, reason="over")
    outside.drive(endpoint, lambda e: e.next_reconcile_at is None)
    assert outside.infer("dev", endpoint.name, question()).status_code == 404
    assert revision not in outside.servers.known()
    assert not [p for p in outside.supervisor.status() if revision in p.name]
    again = serve(outside, admin, version)
    assert again.pk == endpoint.pk
    live(outside, endpoint, 2)


def test_what_the_proxy_counted_becomes_windows(outside: World, admin: Any) -> None:
    version = factories.version()
    built(outside, version)
    endpoint = live(outside, serve(outside, admin, version), 1)
    measure = Measurer(outside.meter)
    measure(now())
    for row in range(20):
        outside.infer("dev", endpoint.name, question(row))
    outside.infer("dev", endpoint.name, {"inputs": []})
    time.sleep(1.5)  # Envoy shows histograms once a second
    later = now() + timedelta(seconds=10)
    measure(later - timedelta(seconds=10))
    row = selectors.endpoint(admin, endpoint.public_id)
    seen = traffic(admin, row, minutes=5, now=later + timedelta(seconds=10))
    (series,) = seen.series
    assert series.total.requests == 21
    assert series.total.p50_ms is not None
    assert 0 < series.total.p50_ms < 1000
    assert sum(p.requests or 0 for p in series.points) == 21
    assert measure(later) == 0  # nothing is counted twice


class Load:
    """Requests, one after another from each of some callers, and what failed of them."""

    def __init__(self, url: str, callers: int) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._url, self._over = url, threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._over.is_set():
                try:
                    answer = client.post(self._url, json=question())
                    if answer.status_code == 200:
                        self.answered += 1
                        continue
                    self.failed.append(f"{answer.status_code} {answer.text[:200]}")
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))


def under_load(outside: World, name: str, callers: int = 3) -> Load:
    return Load(f"{outside.url}/dev/{name}/v2/models/{name}/infer", callers)
