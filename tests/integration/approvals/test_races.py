"""Two people at the same instant, a replay, a worker in between: exactly one truth."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from apps.approvals.models import ApprovalRequest, Decision
from apps.audit.models import AuditEvent
from apps.releases import services
from apps.releases.models import Release
from apps.releases.reconcile import ReleaseReconciler
from apps.rollouts.models import Rollout
from controlplane.db.reconcile import claim_one
from controlplane.kernel.errors import Conflict, ControlPlaneError
from tests import governed
from tests.governed import Governed

pytestmark = pytest.mark.django_db(transaction=True)
LEASE = timedelta(seconds=45)


@pytest.fixture
def house() -> Governed:
    return governed.house()


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Run acts at the same instant, each on a connection of its own."""
    gate = threading.Barrier(len(acts))

    def one(act: Callable[[], object]) -> object:
        try:
            gate.wait(timeout=20)
            return act()
        except ControlPlaneError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


def test_two_yeses_at_the_same_instant_grant_once(house: Governed) -> None:
    row = house.waiting()
    digest = house.digest(row)

    def yes(name: str) -> Callable[[], object]:
        actor = house.actor(name)
        return lambda: services.approve(actor=actor, number=row.number, digest=digest)

    said = at_once(yes("reviewer"), yes("operator"), yes("second"))
    assert not [answer for answer in said if isinstance(answer, Exception)]
    request = ApprovalRequest.objects.get()
    assert request.state == "granted"
    assert AuditEvent.objects.filter(verb="approvals.grant").count() == 1
    assert house.run(row, "live").state == "live"
    assert Rollout.objects.count() == 1


def test_a_replayed_yes_is_one_decision(house: Governed) -> None:
    row = house.waiting()
    digest, actor = house.digest(row), house.actor("reviewer")
    at_once(*[lambda: services.approve(actor=actor, number=row.number, digest=digest)] * 6)
    assert Decision.objects.count() == 1
    assert AuditEvent.objects.filter(verb="approvals.approve").count() == 1


def test_a_yes_and_a_change_at_the_same_instant_leave_no_yes_to_the_old(house: Governed) -> None:
    row = house.waiting()
    digest = house.digest(row)
    reviewer, operator, maker = (house.actor(n) for n in ("reviewer", "operator", "maker"))
    at_once(
        lambda: services.approve(actor=reviewer, number=row.number, digest=digest),
        lambda: services.approve(actor=operator, number=row.number, digest=digest),
        lambda: services.revise(actor=maker, number=row.number, replicas=2),
    )
    seen = house.run(row)
    assert seen.state in ("checking", "awaiting_approval")
    assert not Rollout.objects.exists()
    first = ApprovalRequest.objects.order_by("id")[0]
    assert first.state == "voided"


def test_a_yes_and_a_no_at_the_same_instant_are_a_no(house: Governed) -> None:
    row = house.waiting()
    digest = house.digest(row)
    reviewer, operator = house.actor("reviewer"), house.actor("operator")
    at_once(
        lambda: services.approve(actor=operator, number=row.number, digest=digest),
        lambda: services.decline(
            actor=reviewer, number=row.number, digest=digest, reason="It is worse."
        ),
    )
    assert house.run(row, "declined").state == "declined"
    assert not Rollout.objects.exists()


def test_a_worker_that_was_overtaken_by_a_person_writes_nothing(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer", "operator")
    house.now += timedelta(seconds=5)
    claim = claim_one(Release, row.pk, now=house.now, lease=LEASE)
    assert claim is not None
    services.withdraw(actor=house.actor("maker"), number=row.number, reason="Stop.")
    ReleaseReconciler()(claim, house.now)
    assert house.fresh(row).state == "withdrawn"
    assert not Rollout.objects.exists()


def test_two_workers_on_one_release_start_one_rollout(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer", "operator")

    def work() -> None:
        for _ in range(12):
            house_now = house.now + timedelta(seconds=100)
            claim = claim_one(Release, row.pk, now=house_now, lease=LEASE)
            if claim is not None:
                ReleaseReconciler()(claim, house_now)

    at_once(work, work, work)
    assert Rollout.objects.count() == 1
    assert AuditEvent.objects.filter(verb="releases.start").count() == 1


class Died(BaseException):
    """The worker was killed: not an Exception, so nothing in the loop can catch it."""


@pytest.mark.parametrize("at", ["audit.record", "notify", "record"])
def test_a_worker_that_dies_in_the_middle_leaves_nothing_half_done(
    house: Governed, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = house.waiting()
    house.approve(row, "reviewer", "operator")

    def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        if at == "audit.record":
            patch.setattr("apps.audit.services.record", die)
        elif at == "notify":
            patch.setattr("apps.releases.telling.notify", die)
        else:
            patch.setattr("controlplane.db.reconcile.Claim.record", die)
        with pytest.raises(Died):
            house.step(row)
    assert house.fresh(row).state == "awaiting_approval"
    house.now += LEASE * 2
    assert house.run(row, "live").state == "live"
    assert Rollout.objects.count() == 1


def test_a_yes_after_the_end_is_refused(house: Governed) -> None:
    row = house.waiting()
    digest = house.digest(row)
    services.withdraw(actor=house.actor("maker"), number=row.number)
    with pytest.raises(Conflict) as refused:
        services.approve(actor=house.actor("reviewer"), number=row.number, digest=digest)
    assert refused.value.code == "releases.not_waiting"
