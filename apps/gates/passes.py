"""What one pass over a checklist knows, and which gates it has to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apps.gates import selectors
from apps.gates.domain import due, evaluate
from apps.gates.domain.evaluate import Known
from apps.gates.domain.finding import Finding, Source, Verdict, unknown
from apps.gates.domain.policy import GateRule, PolicyDocument, parse
from apps.gates.domain.states import GateState
from apps.gates.models import Checklist, Evidence, GateResult, Policy
from apps.gates.programs import PROGRAMS
from apps.gates.programs.subject import (
    Program,
    Reading,
    Subject,
    Testing,
    is_bound_to_place,
)
from controlplane.db.reconcile import Claim
from controlplane.kernel import digests


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


def observe(claim: Claim[Checklist], now: datetime) -> Pass:
    """Return what a pass knows, read anew."""
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


def read_due(current: Pass) -> dict[int, Judged]:
    """Judge every due gate that only reads our own records."""
    judged = {}
    for row in current.rows:
        program = PROGRAMS.get(row.gate)
        if program is None:
            if _is_due(current, row):
                gone = unknown("This gate does not exist any more.", "Take it out of the policy.")
                judged[row.pk] = Judged(gone, "")
        elif isinstance(program, Reading) and _needs_look(current, row, program):
            judged[row.pk] = carried(current, row, program) or weighed(
                current, row, program.run(current.subject(row)), program
            )
    return judged


def first_due(current: Pass, kinds: tuple[type[Program], ...]) -> GateResult | None:
    """Return the first result, in the policy's order, whose program is of a kind and is due."""
    for row in current.rows:
        program = PROGRAMS.get(row.gate)
        if isinstance(program, kinds) and _needs_look(current, row, program):
            return row
    return None


def _needs_look(current: Pass, row: GateResult, program: Program) -> bool:
    return _is_due(current, row) or not still_about(current, row, program)


def _is_due(current: Pass, row: GateResult) -> bool:
    return row.due_at is not None and row.due_at <= current.now


def still_about(current: Pass, row: GateResult, program: Program) -> bool:
    """Return whether what is known was found under the conditions of now."""
    found = row.evidence
    if found is None or found.source != Source.MEASURED or not found.conditions:
        # Nothing is known, or it was sent or seen elsewhere: that is judged anew each time.
        return True
    return found.conditions == conditions(current, row, program)


def conditions(current: Pass, row: GateResult, program: Program) -> str:
    """Return the digest of everything but the bytes that a finding hangs on."""
    subject = current.subject(row)
    place = {"environment": subject.environment.slug} if is_bound_to_place(row.gate) else {}
    # Carried between environments although it is bound to a place: a load test says itself, in
    # its conditions, what of the place counts.
    if isinstance(program, Testing):
        place = {}
    told = {**program.conditions(subject), **place, "parameters": subject.rule.parameters}
    return digests.of_bytes(digests.canonical(told))


def carried(current: Pass, row: GateResult, program: Program) -> Judged | None:
    """Return what was found before about the same bytes, if it passed and counts for long."""
    if is_bound_to_place(row.gate) and not isinstance(program, Testing):
        return None
    hangs_on = conditions(current, row, program)
    subject = current.subject(row)
    newest = (
        Evidence.objects.filter(
            key=row.gate,
            subject=subject.bundle,
            conditions=hangs_on,
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
    return Judged(found, hangs_on, carried=newest)


def weighed(current: Pass, row: GateResult, finding: Finding, program: Program) -> Judged:
    """Add what it hangs on; keep what is known where the world could not be asked."""
    hangs_on = conditions(current, row, program)
    is_passed = selectors.state_of(row, current.now) is GateState.PASSED
    lost = finding.verdict is Verdict.UNKNOWN and not isinstance(program, Reading)
    return Judged(
        finding, hangs_on, kept=lost and is_passed and still_about(current, row, program)
    )
