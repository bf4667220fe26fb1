"""Serving with nothing faked: PostgreSQL, Envoy, supervisord and ONNX Runtime."""

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.builds.models import Build, Variant
from apps.endpoints import services
from apps.endpoints.models import Endpoint
from apps.registry.models import ModelVersion
from controlplane.kernel.actor import Role
from tests import factories
from tests.serving import World, question, rows_of, state_of, world

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def outside() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder, world(Path(folder)) as w:
        yield w


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
    return outside.drive(endpoint, lambda e: state_of(e, number) == "live")


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
