"""Rollouts with nothing faked: Envoy, supervisord, ONNX Runtime, and callers that keep calling.

Each journey asserts that no request failed but those that the bad model itself failed, that what
a candidate got only ever grew until it was sent back, and that the log tells the story.
"""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.endpoints import services as endpoints
from apps.endpoints.domain import decide as endpoint_rules
from apps.endpoints.models import Endpoint
from apps.rollouts import selectors, services
from apps.rollouts.models import Rollout
from controlplane.drivers.local.capacity import LocalCapacity
from controlplane.drivers.local.servers import program
from tests import factories, gauntlet
from tests.gauntlet import Answered, Callers, Gauntlet
from tests.rolling import House
from tests.serving import World, world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

METRICS = [
    {
        "name": "errors", "title": "Errors", "kind": "rate", "source": "errors",
        "tolerance": {"absolute": 0.02}, "margin": {"absolute": 0.1},
    },
    {
        "name": "slow", "title": "Slower than 25 ms", "kind": "rate", "source": "slow",
        "over_ms": 25, "tolerance": {"absolute": 0.2}, "margin": {"absolute": 0.5},
    },
]  # fmt: skip
CANARY = {
    "kind": "canary",
    "steps": [{"weight": 50, "hold_seconds": 2, "deadline_seconds": 60}],
    "metrics": METRICS,
}
# A margin of a tenth would let five percent pass.
STRICT = {**CANARY, "metrics": [
    {**METRICS[0], "tolerance": {"absolute": 0.01}, "margin": {"absolute": 0.02}}, METRICS[1],
]}  # fmt: skip


@pytest.fixture(scope="module")
def outside() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder, world(Path(folder)) as w:
        yield w


@pytest.fixture
def run(outside: World, settings: Any) -> Gauntlet:
    settings.SERVING_URL = outside.url
    settings.ENDPOINT_KEYS = outside.home / "secrets" / "endpoint-keys"
    house = House(
        servers=outside.servers,  # type: ignore[arg-type]  # the real ones
        router=outside.router,  # type: ignore[arg-type]
        capacity=LocalCapacity(outside.servers),  # type: ignore[arg-type]
    )
    return Gauntlet(outside, house)


@pytest.fixture
def endpoint(run: Gauntlet) -> Iterator[Endpoint]:
    """Return an endpoint at which a good model is live; nothing is left of it afterwards."""
    version = factories.version()
    run.variant(version, gauntlet.good(name=version.model.name))
    served = endpoints.serve(
        actor=run.house.admin, model=version.model.name, version=1, environment="dev"
    ).endpoint
    run.drive(lambda: served.revisions.filter(state="live", observed_weight=100).exists())
    yield served
    endpoints.retire(actor=run.house.admin, endpoint=served.public_id)
    run.drive(lambda: not served.revisions.filter(ended_at=None).exists())


def begin(run: Gauntlet, endpoint: Endpoint, graph: bytes, strategy: Any = CANARY) -> Rollout:
    version = factories.version(model=endpoint.model)
    return run.house.start_of(endpoint, version, run.variant(version, graph), strategy)


def fresh(row: Rollout) -> Rollout:
    return Rollout.objects.get(pk=row.pk)


def ended(row: Rollout) -> Any:
    return lambda: fresh(row).ended_at is not None


def kinds(row: Rollout) -> list[str]:
    return [event.kind for event in reversed(selectors.events(row))]


def by_candidate(answers: list[Answered]) -> bool:
    return all(answer.revision == 2 for answer in answers)


def assert_all_is_back(run: Gauntlet, callers: Callers, row: Rollout) -> None:
    """After the way back was seen, stable alone answers, and nothing fails."""
    at = time.monotonic()
    run.drive(lambda: len(callers.since(at)) >= 20)
    assert {(a.status, a.revision) for a in callers.since(at)} == {(200, 1)}
    assert kinds(row)[-2:] == ["aborted", "restored"]
    story = AuditEvent.objects.filter(target=f"rollout/{row.public_id}").order_by("id")
    assert [e.verb.partition(".")[2] for e in story][:2] == ["begin", "start"]
    assert [e.verb.partition(".")[2] for e in story][-2:] == ["abort", "restore"]


def test_a_good_canary_is_promoted_and_no_request_fails(run: Gauntlet, endpoint: Endpoint) -> None:
    with Callers(run.url(endpoint)) as callers:
        row = begin(run, endpoint, gauntlet.good())
        run.drive(ended(row))
        at = time.monotonic()
        run.drive(lambda: len(callers.since(at)) >= 20)
    assert fresh(row).state == "promoted"
    assert callers.failed() == []
    assert {a.revision for a in callers.since(at)} == {2}
    events = {event.kind: event.at for event in selectors.events(row)}
    assert (events["promoted"] - events["seen"]).total_seconds() >= 2


def test_one_that_fails_on_five_percent_is_sent_back(run: Gauntlet, endpoint: Endpoint) -> None:
    with Callers(run.url(endpoint), rate=100, trips=20) as callers:
        row = begin(run, endpoint, gauntlet.failing(), STRICT)
        run.drive(ended(row), seconds=120)
        assert fresh(row).state == "rolled_back"
        assert callers.failed()
        assert by_candidate(callers.failed())
        assert {a.status for a in callers.failed()} == {500}
        assert_all_is_back(run, callers, row)


def test_one_that_is_slow_is_sent_back(run: Gauntlet, endpoint: Endpoint) -> None:
    with Callers(run.url(endpoint), rate=30) as callers:
        row = begin(run, endpoint, gauntlet.slow())
        run.drive(ended(row))
        assert fresh(row).state == "rolled_back"
        assert "lower than 25 ms" in fresh(row).reason or "slow" in fresh(row).reason
        assert_all_is_back(run, callers, row)
        run.drive(lambda: fresh(row).candidate.ended_at is not None)
        assert fresh(row).candidate.restarts == 0  # being stopped is none
    assert callers.failed() == []


def test_one_whose_process_dies_on_a_request_is_sent_back(
    run: Gauntlet, endpoint: Endpoint
) -> None:
    with Callers(run.url(endpoint), trips=2) as callers:
        row = begin(run, endpoint, gauntlet.crashing())
        run.drive(ended(row))
        assert fresh(row).state == "rolled_back"
        assert fresh(row).candidate.restarts
        # A request that a process died on has no answer of the model's: the proxy says so.
        assert {a.status for a in callers.failed()} == {503}
        assert by_candidate(callers.failed())
        assert_all_is_back(run, callers, row)


def test_one_whose_server_hangs_before_it_is_ready_gets_nothing(
    run: Gauntlet, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_rules, "PATIENCE", 0.1)  # times what its runtime may take
    with Callers(run.url(endpoint)) as callers:
        row = begin(run, endpoint, gauntlet.good())
        name = program(fresh(row).candidate.public_id, 0)
        run.drive(lambda: pid_of(run, name) is not None)
        pid = pid_of(run, name)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            run.drive(ended(row))
        finally:
            os.kill(pid, signal.SIGCONT)
    assert fresh(row).state == "rolled_back"
    assert fresh(row).candidate.problem_code == "server.slow"
    assert {(a.status, a.revision) for a in callers.answers} == {(200, 1)}


def pid_of(run: Gauntlet, name: str) -> int | None:
    status = run.world.supervisor.status_of(name)
    return status.pid if status else None


def test_one_that_is_no_model_gets_nothing(run: Gauntlet, endpoint: Endpoint) -> None:
    with Callers(run.url(endpoint)) as callers:
        row = begin(run, endpoint, b"this is no model")
        run.drive(ended(row))
    assert fresh(row).state == "rolled_back"
    assert {(a.status, a.revision) for a in callers.answers} == {(200, 1)}


def test_bytes_that_changed_after_the_approval_are_refused(
    run: Gauntlet, endpoint: Endpoint
) -> None:
    version = factories.version(model=endpoint.model)
    variant = run.variant(version, gauntlet.good(name="approved"))
    changed = [
        path
        for path in (run.world.home / "bundles").rglob("*")
        if path.is_file() and b"approved" in path.read_bytes()
    ]
    assert changed
    for path in changed:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b"approved", b"tampered"))
    with Callers(run.url(endpoint)) as callers:
        row = run.house.start_of(endpoint, version, variant, CANARY)
        run.drive(ended(row))
    assert fresh(row).state == "rolled_back"
    assert fresh(row).candidate.problem_code.startswith("bundle.")
    assert {(a.status, a.revision) for a in callers.answers} == {(200, 1)}


def test_without_traffic_it_waits_says_so_and_asks(run: Gauntlet, endpoint: Endpoint) -> None:
    steps = [{"weight": 50, "hold_seconds": 1, "deadline_seconds": 4}]
    row = begin(run, endpoint, gauntlet.good(), {**CANARY, "steps": steps})
    run.drive(lambda: fresh(row).state == "paused")
    assert (fresh(row).pause, fresh(row).step) == ("deadline", 0)
    services.abort(actor=run.house.admin, rollout=row.public_id, reason="Nobody calls.")
    run.drive(ended(row))


def test_an_abort_is_a_change_of_route(run: Gauntlet, endpoint: Endpoint) -> None:
    """From the decision to the first moment after which stable alone answers."""
    with Callers(run.url(endpoint), rate=100) as callers:
        row = begin(run, endpoint, gauntlet.good())
        run.drive(lambda: fresh(row).step_seen_at is not None)
        run.drive(lambda: any(a.revision == 2 for a in callers.answers))
        decided = time.monotonic()
        services.abort(actor=run.house.admin, rollout=row.public_id, reason="Complaints.")
        run.drive(ended(row))
        assert_all_is_back(run, callers, row)
    last = max((a.at for a in callers.answers if a.revision == 2), default=decided)
    found = fresh(row)
    print(f"client {last - decided:.3f} s, ledger {found.settled_at - found.decided_at}")
    assert callers.failed() == []
    assert last - decided < 10
