"""One pass over a checklist: observe, judge, then write down what was found, all or nothing.

1. A closed checklist ends its tests and rests.
2. When another version of the policy is in force, the checklist moves to it.
3. A load test that runs is observed; one that has ended is judged.
4. Every gate that is due and only reads our own records is judged; or else one that asks the
   world; or else one load test is begun. Evidence about the same bytes, found elsewhere, is used
   before anything is asked.
5. What was found is written with the new states, if this worker still holds the checklist.

A pass makes one call to the world or none. Evidence, results, ledger and notices go in one
transaction: a worker that dies leaves either all of it or nothing, and the next pass looks again.
"""

from datetime import datetime, timedelta
from typing import assert_never

from django.db import transaction

from apps.gates.domain.finding import Finding, failed, unknown
from apps.gates.domain.load import LoadPlan, LoadReport, LoadState
from apps.gates.models import Checklist, GateResult
from apps.gates.passes import (
    Judged,
    Pass,
    carried,
    conditions,
    first_due,
    observe,
    read_due,
    weighed,
)
from apps.gates.ports import LoadGenerator
from apps.gates.programs import PROGRAMS
from apps.gates.programs.subject import Asking, Subject, Testing, World
from apps.gates.recording import LOOK, move_policy, record
from controlplane.db.live import announce
from controlplane.db.reconcile import Claim
from controlplane.kernel import digests
from controlplane.kernel.errors import ControlPlaneError, Permanent, Transient

WAIT_FOR_ROOM = timedelta(seconds=5)
PARKED = timedelta(minutes=5)


class ChecklistReconciler:
    """Keeps one checklist current; one per process."""

    def __init__(self, world: World, load: LoadGenerator) -> None:
        """Keep what passes need.

        Args:
            world: Bundles and running servers.
            load: Runs load tests.
        """
        self._world, self._load = world, load

    def __call__(self, claim: Claim[Checklist], now: datetime) -> None:
        """Run one pass."""
        current = observe(claim, now)
        if current.checklist.closed_at is not None:
            self._end(current)
        elif current.policy.pk != current.checklist.policy_id:
            move_policy(current)
        elif running := next((r for r in current.rows if r.handle), None):
            self._watch(current, running)
        else:
            self._look(current)

    def park(self, claim: Claim[Checklist], error: ControlPlaneError, now: datetime) -> None:
        """Say what stops the measuring, and try again in a while; unknown stays unknown."""
        with transaction.atomic():
            if claim.record(next_at=now + PARKED, attempts=0, problem=str(error)[:2000]):
                announce(f"checklist/{claim.row.public_id}")

    def _end(self, current: Pass) -> None:
        running = [row for row in current.rows if row.handle]
        for row in running:
            self._load.discard(row.handle)
        with transaction.atomic():
            if current.claim.record(next_at=None, attempts=0):
                GateResult.objects.filter(pk__in=[r.pk for r in running]).update(handle="")

    def _watch(self, current: Pass, row: GateResult) -> None:
        """Observe a load test; meanwhile judge what only reads our own records."""
        program = PROGRAMS.get(row.gate)
        if not isinstance(program, Testing) or row.handle != _test_name(current, row, program):
            self._load.discard(row.handle)  # it tests what nobody asks about any more
            row.handle = ""
            record(current, {}, ended=[row])
            return
        report = self._load.observe(row.handle)
        if report.state is LoadState.RUNNING:
            record(current, read_due(current), at_latest=current.now + LOOK)
            return
        finding = _of_test(program, current.subject(row), report)
        handle, row.handle, row.runs = row.handle, "", row.runs + 1
        judged = weighed(current, row, finding, program)
        if record(current, {row.pk: judged}, ended=[row]):
            self._load.discard(handle)

    def _look(self, current: Pass) -> None:
        judged = read_due(current)
        asking = first_due(current, (Asking,))
        if judged or asking is None:
            testing = None if judged else first_due(current, (Testing,))
            if testing is not None:
                self._begin(current, testing)
            else:
                record(current, judged)
            return
        program = PROGRAMS[asking.gate]
        assert isinstance(program, Asking)  # noqa: S101 - it was chosen for that
        record(current, {asking.pk: self._ask(current, asking, program)})

    def _ask(self, current: Pass, row: GateResult, program: Asking) -> Judged:
        found = carried(current, row, program)
        if found is not None:
            return found
        try:
            finding = program.run(current.subject(row), self._world)
        except Transient as error:
            finding = unknown(error.sentence, error.remedy or "It is tried again by itself.")
        except Permanent as error:
            finding = failed(error.sentence, error.remedy)
        return weighed(current, row, finding, program)

    def _begin(self, current: Pass, row: GateResult) -> None:
        program = PROGRAMS[row.gate]
        assert isinstance(program, Testing)  # noqa: S101 - it was chosen for that
        judged = carried(current, row, program)
        plan = None if judged else program.plan(current.subject(row))
        if isinstance(plan, Finding):
            judged = weighed(current, row, plan, program)
        if judged is not None:
            record(current, {row.pk: judged})
        elif GateResult.objects.exclude(handle="").exists():
            # Two tests at a time would disturb each other.
            row.due_at = current.now + WAIT_FOR_ROOM
            record(current, {}, waiting=[row])
        else:
            assert isinstance(plan, LoadPlan)  # noqa: S101 - nothing else is left
            row.handle = _test_name(current, row, program)
            self._load.start(row.handle, plan)
            record(current, {}, began=row)


def tidy_load_tests(load: LoadGenerator) -> int:
    """Drop tests that no checklist waits for, and return how many there were."""
    wanted = set(GateResult.objects.exclude(handle="").values_list("handle", flat=True))
    left = [name for name in load.names() if name not in wanted]
    for name in left:
        load.discard(name)
    return len(left)


def _test_name(current: Pass, row: GateResult, program: Testing) -> str:
    """Return the name of the test that is to run now, the same for every try."""
    about = f"{current.checklist.variant.bundle_digest} {conditions(current, row, program)}"
    number = int(digests.of_bytes(about.encode()).removeprefix("sha256:")[:12], 16)
    return f"{current.checklist.public_id}-{row.pk}-{number}-{row.runs}"


def _of_test(program: Testing, subject: Subject, report: LoadReport) -> Finding:
    match report.state:
        case LoadState.DONE if report.result is not None:
            return program.judge(subject, report.result)
        case LoadState.FAILED:
            return unknown(f"The load generator failed: {report.problem}", "It is tried again.")
        case LoadState.LOST | LoadState.ABSENT | LoadState.DONE:
            return unknown("The load test was interrupted.", "It is tried again by itself.")
        case LoadState.RUNNING:
            raise ValueError("a test that runs has no result")
        case _:
            assert_never(report.state)
