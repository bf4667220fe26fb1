"""Reading policies, checklists, evidence and waivers; how other apps read their rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from apps.accounts.domain import access
from apps.gates.domain import catalogue, evaluate
from apps.gates.domain.catalogue import Gate
from apps.gates.domain.evaluate import ChecklistVerdict, Excuse, Known
from apps.gates.domain.finding import Verdict
from apps.gates.domain.policy import GateRule, PolicyDocument, parse
from apps.gates.domain.states import GateState
from apps.gates.models import Checklist, Evidence, GateResult, Policy, Waiver
from apps.gates.policy_rows import policy_in_force as policy_in_force
from apps.registry import selectors as registry
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Missing

SCORE = "score.minimum"
ANY_AGE = timedelta(days=36_500)  # a result's `expires_at` has its limit in it already
GOOD = frozenset({GateState.PASSED, GateState.WAIVED})


@dataclass(frozen=True)
class GateView:
    """One gate of a checklist, as it stands at one moment.

    Attributes:
        gate: Its name in the catalogue.
        title: What people call it, as a statement that is true when it is passed.
        section: data, model, infrastructure, monitoring or service.
        checks: What it looks at.
        kind: Who can say: measured, ci or later.
        required: Whether it stops a release; otherwise it advises.
        state: What is known of it now.
        sentence: What was found, or why nothing is known.
        remedy: What to do about it; empty when it is passed.
        measured_at: When it was found, or last found to be still so.
        expires_at: From when the finding, or the waiver, counts no more.
        state_since: When it came into its state.
        running: Whether it is being measured.
        evidence: What it was judged on.
        waiver: The waiver that holds, with who granted it.
    """

    gate: str
    title: str
    section: str
    checks: str
    kind: str
    required: bool
    state: GateState
    sentence: str
    remedy: str
    measured_at: datetime | None
    expires_at: datetime | None
    state_since: datetime
    running: bool
    evidence: Evidence | None
    waiver: Waiver | None

    @property
    def good(self) -> bool:
        """Return whether it is passed or waived."""
        return self.state in GOOD

    @property
    def signed(self) -> str:
        """Return what an approval signs of it."""
        if self.state is GateState.WAIVED and self.waiver is not None:
            return f"waived:{self.waiver.public_id}"
        return str(self.state)


@dataclass(frozen=True)
class ChecklistStanding:
    """How a checklist stands at one moment.

    Attributes:
        policy: The version of the policy that it follows.
        document: What that says.
        verdict: "passed" only when every required gate is passed or waived.
        gates: In the policy's order.
        blocking: The required gates that are neither passed nor waived.
        score: The ML Test Score; None before it was counted.
        signed: By gate, what an approval signs.
    """

    policy: Policy
    document: PolicyDocument
    verdict: ChecklistVerdict
    gates: tuple[GateView, ...]
    blocking: tuple[GateView, ...]
    score: float | None
    signed: dict[str, str]


def rules(policy: Policy) -> tuple[GateRule, ...]:
    """Return the gates that a policy lists, with the one that its minimum score implies."""
    document = parse(policy.document)
    if not document.minimum_score or document.rule(SCORE) is not None:
        return document.gates
    return (*document.gates, GateRule(SCORE, parameters={"minimum": document.minimum_score}))


def standing(checklist: Checklist, *, now: datetime | None = None) -> ChecklistStanding:
    """Return how a checklist stands; the caller may see it.

    What was passed and has become too old counts as unknown from that moment on, whether or not
    a worker has noticed.
    """
    at = now or SystemClock().now()
    policy = checklist.policy
    gates = tuple(_gate_view(row, at) for row in results(checklist))
    required = [view for view in gates if view.required]
    return ChecklistStanding(
        policy=policy,
        document=parse(policy.document),
        verdict=evaluate.verdict(view.state for view in required),
        gates=gates,
        blocking=tuple(view for view in required if not view.good),
        score=next((_score(view) for view in gates if view.gate == SCORE), None),
        signed={view.gate: view.signed for view in gates},
    )


def results(checklist: Checklist) -> list[GateResult]:
    """Return the results of a checklist in the policy's order, with evidence and waiver."""
    return list(
        GateResult.objects.filter(checklist=checklist)
        .select_related("evidence", "waiver__granted_by")
        .order_by("position", "id")
    )


def checklists(actor: Actor) -> QuerySet[Checklist]:
    """Return the checklists that `actor` may see, newest first."""
    access.require(actor, "gates.read")
    return (
        Checklist.objects.filter(version__model__in=registry.visible_models(actor).values("id"))
        .select_related(
            "version__model__team", "variant", "environment", "policy__environment", "proposer"
        )
        .order_by("-id")
    )


def checklist(actor: Actor, public_id: str) -> Checklist:
    """Return one checklist.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    found = checklists(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing(
            f"There is no checklist {public_id[:20]!r}.",
            remedy="A release's page links to its checklist.",
            code="gates.no_such_checklist",
        )
    return found


def result_view(row: GateResult, *, now: datetime | None = None) -> GateView:
    """Return one result as it stands."""
    return _gate_view(row, now or SystemClock().now())


def evidence(
    actor: Actor, *, model: str = "", version: int | None = None, key: str = ""
) -> QuerySet[Evidence]:
    """Return evidence about the versions that `actor` may see, newest first."""
    access.require(actor, "gates.read")
    rows = Evidence.objects.filter(
        version__model__in=registry.visible_models(actor).values("id")
    ).select_related("version__model__team", "environment")
    if model:
        rows = rows.filter(version__model__name=model)
    if version is not None:
        rows = rows.filter(version__number=version)
    if key:
        rows = rows.filter(key=key)
    return rows.order_by("-measured_at", "-id")


def evidence_row(actor: Actor, public_id: str) -> Evidence:
    """Return one piece of evidence.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    found = evidence(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing(
            f"There is no evidence {public_id[:20]!r}.",
            remedy="A release's page links to the evidence of each gate.",
            code="gates.no_such_evidence",
        )
    return found


def kept_files() -> set[str]:
    """Return the sha256 of every file that evidence names."""
    rows = Evidence.objects.exclude(files=[]).values_list("files", flat=True)
    return {str(entry["sha256"]) for files in rows for entry in files}


def waivers(actor: Actor, *, model: str = "", in_force: bool = False) -> QuerySet[Waiver]:
    """Return waivers of the models that `actor` may see, newest first."""
    access.require(actor, "gates.read")
    rows = Waiver.objects.filter(
        model__in=registry.visible_models(actor).values("id")
    ).select_related(
        "model__team", "granted_by", "checklist__environment", "checklist__version__model"
    )
    if model:
        rows = rows.filter(model__name=model)
    if in_force:
        rows = rows.filter(_in_force(SystemClock().now()))
    return rows.order_by("-id")


def waiver(actor: Actor, public_id: str) -> Waiver:
    """Return one waiver.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    found = waivers(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing(
            f"There is no waiver {public_id[:20]!r}.",
            remedy="The page of policies lists the waivers.",
            code="gates.no_such_waiver",
        )
    return found


def _in_force(now: datetime) -> Q:
    return Q(withdrawn_at=None, lapsed_at=None, expires_at__gt=now)


def known(row: GateResult) -> Known | None:
    """Return what is known of a gate, for judging."""
    if not row.verdict or row.measured_at is None:
        return None
    return Known(Verdict(row.verdict), row.measured_at, row.expires_at)


def excuse(waiver: Waiver | None) -> Excuse | None:
    """Return a waiver, for judging."""
    if waiver is None:
        return None
    ended = waiver.withdrawn_at is not None or waiver.lapsed_at is not None
    return Excuse(waiver.expires_at, withdrawn=ended)


def _gate_view(row: GateResult, now: datetime) -> GateView:
    told = catalogue.CATALOGUE.get(row.gate) or _forgotten(row.gate)
    state = state_of(row, now)
    waived = state is GateState.WAIVED
    stale = state is GateState.UNKNOWN and row.verdict == Verdict.PASSED
    return GateView(
        gate=row.gate,
        title=told.title,
        section=told.section,
        checks=told.checks,
        kind=told.kind,
        required=row.required,
        state=state,
        sentence=f"Too old: {row.sentence}" if stale else row.sentence or _why_silent(row),
        remedy="" if state is GateState.PASSED else row.remedy or told.remedy,
        measured_at=row.measured_at,
        expires_at=row.waiver.expires_at if waived and row.waiver else row.expires_at,
        state_since=row.state_since,
        running=bool(row.handle),
        evidence=row.evidence,
        waiver=row.waiver if waived else None,
    )


def _score(view: GateView) -> float | None:
    """Return the ML Test Score as the checklist last counted it."""
    told = view.evidence.facts.get("score") if view.evidence else None
    return float(told) if told is not None else None


def state_of(row: GateResult, now: datetime) -> GateState:
    """Return the state at `now`, which may be past what the row was last judged at."""
    waiver = excuse(row.waiver)
    state = evaluate.evaluate(known(row), waiver, max_age=ANY_AGE, now=now)
    was_never_looked_at = row.state == GateState.PENDING and not row.verdict
    if was_never_looked_at and state is GateState.UNKNOWN:
        return GateState.PENDING
    return state


def _why_silent(row: GateResult) -> str:
    if row.handle:
        return "It is being measured now."
    if row.state == GateState.PENDING:
        return "It is about to be looked at."
    return "Not measured yet."


def _forgotten(name: str) -> Gate:
    """Return words for a gate that an older Modelyard had."""
    return Gate(
        name,
        name,
        catalogue.Section.SERVICE,
        "This gate does not exist any more.",
        "Have an admin take it out of the policy.",
    )
