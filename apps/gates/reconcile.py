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

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, assert_never

from django.db import transaction

from apps.audit import services as audit
from apps.gates import selectors
from apps.gates.domain import due, evaluate
from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.evaluate import Known
from apps.gates.domain.finding import Finding, Source, Verdict, failed, unknown
from apps.gates.domain.load import LoadPlan, LoadReport, LoadState
from apps.gates.domain.policy import GateRule, PolicyDocument, parse
from apps.gates.domain.states import GATE, GateMove, GateState, moves
from apps.gates.listing import KIND, relist
from apps.gates.models import Checklist, Evidence, GateResult, Policy, Waiver
from apps.gates.ports import LoadGenerator
from apps.gates.programs import PROGRAMS
from apps.gates.programs.subject import (
    Asking,
    Program,
    Reading,
    Subject,
    Testing,
    World,
    is_bound_to_place,
)
from apps.notifications.services import notify
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import Claim
from controlplane.kernel import digests
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import ControlPlaneError, Permanent, Transient

ACTOR = worker("gates")
LOOK = timedelta(seconds=1)  # at a test that runs
WAIT_FOR_ROOM = timedelta(seconds=5)
PARKED = timedelta(minutes=5)
RETRY = timedelta(seconds=30)  # after the world did not answer
KNOWN_NO_MORE: dict[str, Any] = {
    "verdict": "", "sentence": "", "remedy": "", "evidence": None, "measured_at": None,
    "expires_at": None,
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """What was found about one gate.

    Attributes:
        finding: As the program has it, or as the evidence has it that is used again.
        conditions: The digest of what it hangs on besides the bytes.
        carried: Evidence found elsewhere about the same bytes.
        kept: Nothing could be found, and what is known still counts: look again soon.
    """

    finding: Finding
    conditions: str
    carried: Evidence | None = None
    kept: bool = False


@dataclass(frozen=True)
class Pass:
    """What one pass knows."""

    claim: Claim[Checklist]
    checklist: Checklist
    policy: Policy
    document: PolicyDocument
    rules: Mapping[str, GateRule]
    rows: Sequence[GateResult]
    now: datetime
    subjects: dict[str, Subject] = field(default_factory=dict)  # each looks things up once

    def subject(self, row: GateResult) -> Subject:
        """Return what the gate of `row` is judged about."""
        if row.gate not in self.subjects:
            rule = self.rules[row.gate]
            self.subjects[row.gate] = Subject(self.checklist, rule, self.document, self.now)
        return self.subjects[row.gate]


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
        current = _observe(claim, now)
        if current.checklist.closed_at is not None:
            self._end(current)
        elif current.policy.pk != current.checklist.policy_id:
            _move_policy(current)
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
            _record(current, {}, ended=[row])
            return
        report = self._load.observe(row.handle)
        if report.state is LoadState.RUNNING:
            _record(current, _read_due(current), at_latest=current.now + LOOK)
            return
        finding = _of_test(program, current.subject(row), report)
        handle, row.handle, row.runs = row.handle, "", row.runs + 1
        judged = _weighed(current, row, finding, program)
        if _record(current, {row.pk: judged}, ended=[row]):
            self._load.discard(handle)

    def _look(self, current: Pass) -> None:
        judged = _read_due(current)
        asking = _first_due(current, (Asking,))
        if judged or asking is None:
            testing = None if judged else _first_due(current, (Testing,))
            if testing is not None:
                self._begin(current, testing)
            else:
                _record(current, judged)
            return
        program = PROGRAMS[asking.gate]
        assert isinstance(program, Asking)  # noqa: S101 - it was chosen for that
        _record(current, {asking.pk: self._ask(current, asking, program)})

    def _ask(self, current: Pass, row: GateResult, program: Asking) -> Judged:
        carried = _carried(current, row, program)
        if carried is not None:
            return carried
        try:
            finding = program.run(current.subject(row), self._world)
        except Transient as error:
            finding = unknown(error.sentence, error.remedy or "It is tried again by itself.")
        except Permanent as error:
            finding = failed(error.sentence, error.remedy)
        return _weighed(current, row, finding, program)

    def _begin(self, current: Pass, row: GateResult) -> None:
        program = PROGRAMS[row.gate]
        assert isinstance(program, Testing)  # noqa: S101 - it was chosen for that
        judged = _carried(current, row, program)
        plan = None if judged else program.plan(current.subject(row))
        if isinstance(plan, Finding):
            judged = _weighed(current, row, plan, program)
        if judged is not None:
            _record(current, {row.pk: judged})
        elif GateResult.objects.exclude(handle="").exists():
            row.due_at = (
                current.now + WAIT_FOR_ROOM
            )  # two tests at a time would disturb each other
            _record(current, {}, waiting=[row])
        else:
            assert isinstance(plan, LoadPlan)  # noqa: S101 - nothing else is left
            row.handle = _test_name(current, row, program)
            self._load.start(row.handle, plan)
            _record(current, {}, began=row)


def tidy_load_tests(load: LoadGenerator) -> int:
    """Drop tests that no checklist waits for, and return how many there were."""
    wanted = set(GateResult.objects.exclude(handle="").values_list("handle", flat=True))
    left = [name for name in load.names() if name not in wanted]
    for name in left:
        load.discard(name)
    return len(left)


# --- observing --------------------------------------------------------------------------------


def _observe(claim: Claim[Checklist], now: datetime) -> Pass:
    checklist = Checklist.objects.select_related(
        "version__model__team", "variant__build", "environment", "policy"
    ).get(pk=claim.row.pk)
    policy = selectors.policy_in_force(checklist.environment, checklist.version.model.risk_tier)
    return Pass(
        claim=claim,
        checklist=checklist,
        policy=policy,
        document=parse(policy.document),
        rules={rule.gate: rule for rule in selectors.rules(policy)},
        rows=selectors.results(checklist),
        now=now,
    )


def _read_due(current: Pass) -> dict[int, Judged]:
    """Judge every due gate that only reads our own records."""
    judged = {}
    for row in current.rows:
        program = PROGRAMS.get(row.gate)
        if program is None:
            if _is_due(current, row):
                gone = unknown("This gate does not exist any more.", "Take it out of the policy.")
                judged[row.pk] = Judged(gone, "")
        elif isinstance(program, Reading) and _needs_look(current, row, program):
            judged[row.pk] = _carried(current, row, program) or _weighed(
                current, row, program.run(current.subject(row)), program
            )
    return judged


def _first_due(current: Pass, kinds: tuple[type[Program], ...]) -> GateResult | None:
    for row in current.rows:
        program = PROGRAMS.get(row.gate)
        if isinstance(program, kinds) and _needs_look(current, row, program):
            return row
    return None


def _needs_look(current: Pass, row: GateResult, program: Program) -> bool:
    return _is_due(current, row) or not _still_about(current, row, program)


def _is_due(current: Pass, row: GateResult) -> bool:
    return row.due_at is not None and row.due_at <= current.now


def _still_about(current: Pass, row: GateResult, program: Program) -> bool:
    """Return whether what is known was found under the conditions of now."""
    found = row.evidence
    if found is None or found.source != Source.MEASURED:
        return True  # nothing is known, or it was sent: that is judged anew each time
    return found.conditions == _conditions(current, row, program)


def _conditions(current: Pass, row: GateResult, program: Program) -> str:
    """Return the digest of everything but the bytes that a finding hangs on."""
    subject = current.subject(row)
    place = {"environment": subject.environment.slug} if is_bound_to_place(row.gate) else {}
    # Carried between environments although it is bound to a place: a load test says itself, in
    # its conditions, what of the place counts.
    if isinstance(program, Testing):
        place = {}
    told = {**program.conditions(subject), **place, "parameters": subject.rule.parameters}
    return digests.of_bytes(digests.canonical(told))


def _carried(current: Pass, row: GateResult, program: Program) -> Judged | None:
    """Return what was found before about the same bytes, if it passed and counts for long."""
    if is_bound_to_place(row.gate) and not isinstance(program, Testing):
        return None
    conditions = _conditions(current, row, program)
    subject = current.subject(row)
    newest = (
        Evidence.objects.filter(
            key=row.gate,
            subject=subject.bundle,
            conditions=conditions,
            source=Source.MEASURED,
            version=subject.version,
        )
        .order_by("-measured_at", "-id")
        .first()
    )
    if newest is None or newest.verdict != Verdict.PASSED:
        return None
    if row.asked_at is not None and newest.measured_at <= row.asked_at:
        return None
    known = Known(Verdict.PASSED, newest.measured_at, newest.expires_at)
    until = evaluate.counts_until(known, max_age=subject.max_age)
    if not due.is_young(until, max_age=subject.max_age, now=current.now):
        return None  # it would have to be renewed at once
    found = Finding(Verdict.PASSED, newest.sentence, facts=newest.facts, expires_at=until)
    return Judged(found, conditions, carried=newest)


def _weighed(current: Pass, row: GateResult, finding: Finding, program: Program) -> Judged:
    """Add what it hangs on; keep what is known where the world could not be asked."""
    conditions = _conditions(current, row, program)
    still = _state(row, current.now) is GateState.PASSED and _still_about(current, row, program)
    lost = finding.verdict is Verdict.UNKNOWN and not isinstance(program, Reading)
    return Judged(finding, conditions, kept=lost and still)


def _test_name(current: Pass, row: GateResult, program: Testing) -> str:
    """Return the name of the test that is to run now, the same for every try."""
    about = f"{current.checklist.variant.bundle_digest} {_conditions(current, row, program)}"
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


# --- writing down -----------------------------------------------------------------------------


def _move_policy(current: Pass) -> None:
    """Follow the policy in force: its gates, its order, its parameters."""
    checklist, now = current.checklist, current.now
    with transaction.atomic():
        if not current.claim.record(next_at=now, attempts=0, policy=current.policy):
            return
        relist(checklist, list(current.rules.values()), now)
        audit.record(
            actor=ACTOR,
            verb="gates.checklist.follow",
            target=f"checklist/{checklist.public_id}",
            subject=_subject_words(checklist),
            before={"policy": checklist.policy.number},
            after={"policy": current.policy.number},
            reason="Another version of the policy is in force.",
        )
        announce(f"checklist/{checklist.public_id}")
        nudge(KIND, checklist.pk)


def _record(
    current: Pass,
    judged: Mapping[int, Judged],
    *,
    ended: Sequence[GateResult] = (),
    waiting: Sequence[GateResult] = (),
    began: GateResult | None = None,
    at_latest: datetime | None = None,
) -> bool:
    """Write down what was found, and judge every gate anew, unless the lease was lost.

    Args:
        current: What the pass knows.
        judged: What was found, by result.
        ended: Results whose test has ended; their columns are already changed.
        waiting: Results whose next look was put off; likewise.
        began: The result whose test was begun; likewise.
        at_latest: When the next pass is to come.
    """
    touched = {row.pk for row in (*ended, *waiting, *([began] if began else []))}
    with transaction.atomic():
        held = current.claim.record(next_at=current.now, attempts=0, problem="")
        if not held:
            return False
        before = {row.pk: GateState(row.state) for row in current.rows}
        stored = {row.pk: row for row in GateResult.objects.filter(checklist=current.checklist)}
        for row in current.rows:
            _lapse(row, current.now)
            if row.pk in judged:
                _take(current, row, judged[row.pk])
            elif (program := PROGRAMS.get(row.gate)) and row.pk not in touched:
                _forget_other_conditions(current, row, program)
            _settle(row, current.now)
            if row.state != before[row.pk]:
                row.state_since = current.now
        changed = [row for row in current.rows if _save(row, stored[row.pk])]
        _warn(current)
        if changed:
            _tell(current, before)
        if began is not None or at_latest is not None:
            next_at = current.now + LOOK
        else:
            next_at = _next_pass(current)
        Checklist.objects.filter(pk=current.checklist.pk).update(next_reconcile_at=next_at)
        if next_at - current.now <= LOOK:
            wait = max(0.0, (next_at - current.now).total_seconds())
            nudge(KIND, current.checklist.pk, after=wait)
    return True


def _take(current: Pass, row: GateResult, judged: Judged) -> None:
    """Put what was found into a result."""
    now, told = current.now, CATALOGUE.get(row.gate)
    finding, max_age = judged.finding, current.subject(row).max_age
    if judged.kept or told is None:
        row.due_at = now + ((told.look_again if told else None) or RETRY)
        return
    evidence = _evidence(current, row, judged)
    measured_at = now
    if evidence is not None and (judged.carried or finding.cites):
        measured_at = evidence.measured_at
    until = evaluate.counts_until(
        Known(finding.verdict, measured_at, finding.expires_at), max_age=max_age
    )
    row.evidence, row.verdict = evidence, finding.verdict
    row.sentence, row.remedy = finding.sentence, finding.remedy
    row.measured_at, row.expires_at = measured_at, until
    row.due_at = due.next_look(
        told, finding.verdict, until=until, max_age=max_age, cheap=_is_cheap(row), now=now
    )


def _evidence(current: Pass, row: GateResult, judged: Judged) -> Evidence | None:
    """Return the evidence of a finding: what it is carried from or cites, or a new row.

    What is found again to be just so is not written again while the row is young.
    """
    finding, checklist, now = judged.finding, current.checklist, current.now
    if judged.carried is not None:
        return judged.carried
    if finding.cites is not None:
        return Evidence.objects.get(pk=finding.cites)
    if finding.verdict is Verdict.UNKNOWN and not finding.facts:
        return None
    says = {
        "key": row.gate,
        "subject": finding.about or checklist.variant.bundle_digest,
        "conditions": judged.conditions,
        "verdict": str(finding.verdict),
        "sentence": finding.sentence,
        "facts": _plain(finding.facts),
    }
    old = row.evidence
    young = old is not None and now - old.measured_at < current.subject(row).max_age / 2
    if young and all(getattr(old, name) == value for name, value in says.items()):
        return old
    signed = {**says, "version": checklist.version.public_id, "measured_at": now.isoformat()}
    signed["result"] = row.pk
    return Evidence.objects.create(
        **says,
        version=checklist.version,
        environment=checklist.environment if is_bound_to_place(row.gate) else None,
        source=Source.MEASURED,
        measured_at=now,
        expires_at=finding.expires_at,
        recorded_by=ACTOR.name,
        digest=digests.of_bytes(digests.canonical(signed)),
    )


def _forget_other_conditions(current: Pass, row: GateResult, program: Program) -> None:
    """What was found under other conditions is no longer known; it is looked for at once."""
    if not _still_about(current, row, program):
        for name, value in KNOWN_NO_MORE.items():
            setattr(row, name, value)
        row.state = GATE.after(GateState(row.state), GateMove.ASK_AGAIN)
        row.due_at = current.now


def _settle(row: GateResult, now: datetime) -> None:
    """Bring the state up to date, by legal moves only."""
    old, target = GateState(row.state), _state(row, now)
    for move in moves(old, target):
        row.state = GATE.after(GateState(row.state), move)


def _state(row: GateResult, now: datetime) -> GateState:
    return selectors.state_of(row, now)


def _save(row: GateResult, stored: GateResult) -> bool:
    """Write the columns that differ, and return whether there were any."""
    different = [
        name
        for name in (f.attname for f in GateResult._meta.concrete_fields)
        if getattr(row, name) != getattr(stored, name)
    ]
    if different:
        row.save(update_fields=different)
    return bool(different)


def _lapse(row: GateResult, now: datetime) -> None:
    """Let go of a waiver that holds no more."""
    waiver = row.waiver
    if waiver is None:
        return
    if waiver.withdrawn_at is None and waiver.lapsed_at is None and waiver.expires_at <= now:
        waiver.lapsed_at = now
        waiver.save(update_fields=["lapsed_at", "changed_at"])
    if waiver.withdrawn_at is not None or waiver.lapsed_at is not None:
        row.waiver = None


def _warn(current: Pass) -> None:
    """Say a day before that a waiver ends."""
    for waiver in _waivers(current):
        if waiver.announced_at is None and _warn_at(waiver) <= current.now:
            waiver.announced_at = current.now
            waiver.save(update_fields=["announced_at", "changed_at"])
            checklist = current.checklist
            notify(
                kind="waiver.expiring",
                title=f"The waiver of {CATALOGUE[waiver.gate].title.lower()} ends on "
                f"{waiver.expires_at:%Y-%m-%d %H:%M} UTC",
                body=f"{_subject_words(checklist)}. It was granted because: {waiver.reason}",
                link=_link(checklist),
                people={
                    pk for pk in (waiver.granted_by_id, checklist.proposer_id) if pk is not None
                },
                dedupe=f"waiver/{waiver.public_id}/expiring",
            )


def _tell(current: Pass, before: Mapping[int, GateState]) -> None:
    """Record and announce what changed; tell the proposer of what failed."""
    changed = [row for row in current.rows if before[row.pk] != row.state]
    checklist = current.checklist
    announce(f"checklist/{checklist.public_id}")
    if not changed:
        return
    announce(f"version/{checklist.version.public_id}")
    audit.record(
        actor=ACTOR,
        verb="gates.judge",
        target=f"checklist/{checklist.public_id}",
        subject=_subject_words(checklist),
        before={row.gate: str(before[row.pk]) for row in changed},
        after={row.gate: str(row.state) for row in changed},
    )
    fell = [row for row in changed if row.required and row.state == GateState.FAILED]
    if fell and checklist.proposer_id is not None:
        _tell_failed(checklist, fell)


def _tell_failed(checklist: Checklist, rows: Sequence[GateResult]) -> None:
    many = f"{len(rows)} gates" if len(rows) > 1 else f"A gate ({rows[0].gate})"
    notify(
        kind="gate.failed",
        title=f"{many} failed: {_subject_words(checklist)}",
        body="\n".join(f"{CATALOGUE[row.gate].title}: {row.sentence}" for row in rows),
        link=_link(checklist),
        people={checklist.proposer_id} if checklist.proposer_id else set(),
        dedupe="/".join(
            ["checklist", checklist.public_id, *(f"{r.gate}:{r.evidence_id}" for r in rows)]
        )[:150],
    )


def _next_pass(current: Pass) -> datetime:
    """Return when something will have to be looked at, or will be too old."""
    now = current.now
    times: list[datetime] = [now + due.STEADY]
    for row in current.rows:
        if row.due_at is not None:
            times.append(row.due_at)
        if row.expires_at is not None and row.expires_at > now:
            times.append(row.expires_at)
    for waiver in _waivers(current):
        times.append(waiver.expires_at)
        if waiver.announced_at is None:
            times.append(_warn_at(waiver))
    return max(now, min(times))


def _waivers(current: Pass) -> Iterable[Waiver]:
    return [row.waiver for row in current.rows if row.waiver is not None]


def _warn_at(waiver: Waiver) -> datetime:
    return due.warn_at(waiver.created_at, waiver.expires_at)


def _is_cheap(row: GateResult) -> bool:
    program = PROGRAMS.get(row.gate)
    return isinstance(program, Reading) or (isinstance(program, Asking) and program.cheap)


def _subject_words(checklist: Checklist) -> str:
    version = checklist.version
    return f"{version.model.name} v{version.number} in {checklist.environment.slug}"


def _link(checklist: Checklist) -> str:
    return f"/models/{checklist.version.model.name}/versions/{checklist.version.number}"


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: no NaN, no infinity, and no more than it needs."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
