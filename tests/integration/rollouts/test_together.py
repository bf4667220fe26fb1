"""Many rollouts in one sweep come to what each comes to by itself."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from apps.analysis.models import AnalysisRun, Look
from apps.analysis.reconcile import AnalysisReconciler
from apps.audit.models import AuditEvent
from apps.rollouts.models import Rollout, RolloutEvent
from controlplane.db import nudge
from controlplane.db.reconcile import Claim, claim_due, commanding
from tests.rolling import LEASE, House
from workers import loop

pytestmark = pytest.mark.django_db

STEP = timedelta(seconds=5)
LADDER = {
    "kind": "canary",
    "steps": [{"weight": w, "hold_seconds": 60, "deadline_seconds": 3600} for w in (10, 50)],
}
NOT_COMPARED = {"lease_token", "lease_expires_at"}


@pytest.fixture
def house() -> House:
    return House()


def begin(house: House, errors: Iterable[float]) -> list[Rollout]:
    """Return rollouts whose first step is in force, of canaries that fail so often."""
    endpoints = [house.live(rate=50, errors={2: share}) for share in errors]
    rows = [house.start(endpoint, LADDER) for endpoint in endpoints]
    house.run(lambda: not Rollout.objects.filter(step_seen_at=None).exists())
    return rows


def sweep(house: House) -> None:
    """Let some time pass, and sweep every kind as a worker does."""
    house.now += STEP
    house.serve()
    for kind in house.kinds.values():
        loop.sweep_all(kind, now=lambda: house.now, limit=50)


def rows_of(model: Any) -> list[Mapping[str, Any]]:
    """Return all rows, but for what differs from run to run."""
    return [
        {name: value for name, value in row.items() if name not in NOT_COMPARED}
        for row in model.objects.order_by("pk").values()
    ]


def all_due(model: Any, house: House) -> None:
    model.objects.exclude(next_reconcile_at=None).update(next_reconcile_at=house.now)


def claims(model: Any, house: House) -> list[Claim[Any]]:
    return claim_due(model, now=house.now, lease=LEASE)


@pytest.mark.parametrize("name", ["analysis", "rollout"])
def test_a_sweep_writes_what_passes_write(house: House, name: str) -> None:
    begin(house, [0.005, 0.005, 0.005])
    for _ in range(3):
        sweep(house)
    house.now += STEP
    house.serve()
    kind = house.kinds[name]
    all_due(kind.model, house)
    with transaction.atomic():
        for row in list(kind.model.objects.order_by("pk")):
            loop.reconcile_one(kind, row.pk, now=house.now)
        alone = rows_of(kind.model), points()
        transaction.set_rollback(True)
    given = claims(kind.model, house)
    left = kind.reconciler().together(given, house.now)  # type: ignore[attr-defined]
    assert len(given) == 3
    assert list(left) == [], "all of them only wait"
    assert (rows_of(kind.model), points()) == alone
    assert all(row["next_reconcile_at"] > house.now for row in rows_of(kind.model))


def points() -> list[Any]:
    return [
        {key: value for key, value in row.items() if key != "id"}
        for row in Look.objects.order_by("run", "metric", "at").values()
    ]


def test_swept_rollouts_end_as_they_should(house: House) -> None:
    good, bad, other = begin(house, [0.005, 0.2, 0.005])
    for _ in range(400):
        sweep(house)
        if not Rollout.objects.filter(ended_at=None).exists():
            break
    ends = dict(Rollout.objects.values_list("pk", "state"))
    assert ends == {good.pk: "promoted", bad.pk: "rolled_back", other.pk: "promoted"}
    seen = [event.sentence for event in RolloutEvent.objects.filter(rollout=good, kind="seen")]
    assert seen == ["Seen in force: “10 %”.", "Seen in force: “50 %”."]
    proofs = AuditEvent.objects.filter(verb="analysis.judge", reason__contains="worse")
    assert proofs.exists()


def test_one_that_cannot_be_looked_at_stops_no_other(house: House) -> None:
    broken, _ = begin(house, [0.005, 0.005])
    sweep(house)
    run = AnalysisRun.objects.get(subject=f"rollout/{broken.public_id}")
    AnalysisRun.objects.filter(pk=run.pk).update(plan={"metrics": [{"name": 7}]})
    before = AnalysisRun.objects.exclude(pk=run.pk).get().looked_at
    for _ in range(4):
        sweep(house)
    run.refresh_from_db()
    other = AnalysisRun.objects.exclude(pk=run.pk).get()
    assert run.state == "errored"
    assert run.problem
    assert other.looked_at is not None
    assert before is not None
    assert other.looked_at > before


def test_one_whose_strategy_cannot_be_read_stops_no_other(house: House) -> None:
    broken, _ = begin(house, [0.005, 0.005])
    sweep(house)
    Rollout.objects.filter(pk=broken.pk).update(strategy={"kind": "hope"})
    all_due(Rollout, house)
    given = claims(Rollout, house)
    left = house.kinds["rollout"].reconciler().together(given, house.now)  # type: ignore[attr-defined]
    assert [claim.row.pk for claim in left] == [broken.pk]
    assert Rollout.objects.exclude(pk=broken.pk).get().next_reconcile_at > house.now
    for _ in range(loop.PATIENCE):
        house.now += 2 * LEASE  # whoever held it is gone
        loop.reconcile_one(house.kinds["rollout"], broken.pk, now=house.now)
    assert "hope" in Rollout.objects.get(pk=broken.pk).waits_for


def test_a_sweep_that_fails_as_a_whole_leaves_every_row_to_its_own_pass(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(house, [0.005, 0.005])

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(AnalysisReconciler, "together", fails)
    all_due(AnalysisRun, house)
    house.now += STEP
    assert loop.sweep(house.kinds["analysis"], now=lambda: house.now) == 2
    assert {row["looked_at"] for row in rows_of(AnalysisRun)} == {house.now}


def test_a_person_wins_over_a_sweep(house: House) -> None:
    begin(house, [0.005, 0.005])
    sweep(house)
    all_due(Rollout, house)
    given = claims(Rollout, house)
    taken = given[0].row.pk
    with commanding(Rollout, taken, now=house.now) as row:
        row.pause_reason = "by hand"
    house.kinds["rollout"].reconciler().together(given, house.now)  # type: ignore[attr-defined]
    kept = Rollout.objects.get(pk=taken)
    assert (kept.pause_reason, kept.next_reconcile_at) == ("by hand", house.now)
    other = Rollout.objects.exclude(pk=taken).get()
    assert other.next_reconcile_at is not None
    assert other.next_reconcile_at > house.now


def test_whoever_is_woken_in_the_middle_of_a_pass_looks_again(house: House) -> None:
    begin(house, [0.005, 0.005])
    sweep(house)
    all_due(Rollout, house)
    given = claims(Rollout, house)
    woken = given[0].row.pk
    nudge.wake("rollout", woken, now=house.now)
    house.kinds["rollout"].reconciler().together(given, house.now)  # type: ignore[attr-defined]
    assert Rollout.objects.get(pk=woken).next_reconcile_at == house.now
    assert Rollout.objects.exclude(pk=woken).get().next_reconcile_at > house.now


def test_a_wake_makes_due_what_rests_until_later(house: House) -> None:
    (row,) = begin(house, [0.005])
    Rollout.objects.update(next_reconcile_at=house.now + timedelta(minutes=1))
    nudge.wake("rollout", row.pk, now=house.now)
    assert Rollout.objects.get().next_reconcile_at == house.now
    Rollout.objects.update(next_reconcile_at=None)
    nudge.wake("rollout", row.pk, now=house.now)
    assert Rollout.objects.get().next_reconcile_at is None, "one that has ended rests for good"
