"""Writing down what a pass found: states, evidence, ledger and notices, all of it or nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.db import transaction

from apps.audit import services as audit
from apps.gates import selectors
from apps.gates.domain import due, evaluate
from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.evaluate import Known
from apps.gates.domain.finding import Source, Verdict
from apps.gates.domain.states import GATE, GateMove, GateState, moves
from apps.gates.listing import KIND, relist
from apps.gates.models import Checklist, Evidence, GateResult, Waiver
from apps.gates.passes import Judged, Pass, still_about
from apps.gates.programs import PROGRAMS
from apps.gates.programs.subject import Asking, Program, Reading, is_bound_to_place
from apps.notifications.services import notify
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.kernel import digests
from controlplane.kernel.actor import worker

ACTOR = worker("gates")
LOOK = timedelta(seconds=1)  # at a test that runs
RETRY = timedelta(seconds=30)  # after the world did not answer
KNOWN_NO_MORE: dict[str, Any] = {
    "verdict": "", "sentence": "", "remedy": "", "evidence": None, "measured_at": None,
    "expires_at": None,
}  # fmt: skip


def move_policy(current: Pass) -> None:
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


def record(
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
    now, told, finding = current.now, CATALOGUE.get(row.gate), judged.finding
    if told is None:  # a gate of an older Modelyard, which nobody can judge
        row.verdict, row.sentence, row.remedy = finding.verdict, finding.sentence, finding.remedy
        row.measured_at, row.due_at = now, None
        return
    if judged.kept:
        row.due_at = now + (told.look_again or RETRY)
        return
    max_age = current.subject(row).max_age
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
    if not still_about(current, row, program):
        for name, value in KNOWN_NO_MORE.items():
            setattr(row, name, value)
        row.state = GATE.after(GateState(row.state), GateMove.ASK_AGAIN)
        row.due_at = current.now


def _settle(row: GateResult, now: datetime) -> None:
    """Bring the state up to date, by legal moves only."""
    old, target = GateState(row.state), selectors.state_of(row, now)
    for move in moves(old, target):
        row.state = GATE.after(GateState(row.state), move)


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
    version = checklist.version
    return f"/models/{quote(version.model.name, safe='')}/versions/{version.number}"


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: no NaN, no infinity, and no more than it needs."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
