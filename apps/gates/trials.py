"""Dry runs: what a policy that is not saved would make of the releases that are open now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Prefetch

from apps.environments.models import Environment
from apps.gates import selectors
from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.dry_run import Effect, Judged, Outcome, dry_run
from apps.gates.domain.evaluate import Known
from apps.gates.domain.finding import Verdict
from apps.gates.domain.policy import GateRule, PolicyDocument, as_document
from apps.gates.models import Checklist, GateResult, Policy
from apps.gates.services.policies import checked, may_edit
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock

MOST = 200  # checklists that one dry run looks at, the newest first
AGES = {name: gate.max_age for name, gate in CATALOGUE.items()}


@dataclass(frozen=True)
class Tried:
    """One open checklist under the policy that was tried."""

    checklist: Checklist
    outcome: Outcome


@dataclass(frozen=True)
class DryRun:
    """What a policy would do.

    Attributes:
        policy: What it says.
        tried: Each open checklist, the newest first.
        left_out: How many more there are than were looked at.
    """

    policy: PolicyDocument
    tried: tuple[Tried, ...]
    left_out: int = 0

    def of(self, effect: Effect) -> tuple[Tried, ...]:
        """Return the checklists on which it has that effect."""
        return tuple(entry for entry in self.tried if entry.outcome.effect is effect)

    @property
    def stopped(self) -> tuple[Tried, ...]:
        """Return what may ship now, and could not then."""
        return self.of(Effect.STOPPED)

    @property
    def let_through(self) -> tuple[Tried, ...]:
        """Return what may not ship now, and could then."""
        return self.of(Effect.LET_THROUGH)


def try_policy(
    *,
    actor: Actor,
    environment: str,
    risk_tier: str,
    document: object,
    now: datetime | None = None,
) -> DryRun:
    """Return what a policy would make of the open checklists it would rule. Saves nothing.

    Raises:
        Denied: The actor may not edit this policy.
        Missing: There is no such environment.
        Invalid: There is no such tier, or the document is wrong.
    """
    place = may_edit(actor, environment, risk_tier)
    said = checked(document)
    at = now or SystemClock().now()
    rules = _rules(said)
    tried = tuple(
        Tried(checklist, dry_run(_judged(checklist, at), rules, ages=AGES, now=at))
        for checklist in _open_checklists(place, risk_tier)
    )
    return DryRun(said, tried, left_out=open_count(place, risk_tier) - len(tried))


def open_count(environment: Environment, risk_tier: str) -> int:
    """Return how many open checklists a policy rules."""
    return Checklist.objects.filter(
        closed_at=None, environment=environment, version__model__risk_tier=risk_tier
    ).count()


def open_counts() -> dict[tuple[int, str], int]:
    """Return how many open checklists each policy rules, by environment and tier."""
    rows = (
        Checklist.objects.filter(closed_at=None)
        .values_list("environment_id", "version__model__risk_tier")
        .annotate(count=Count("id"))
    )
    return {(environment, tier): count for environment, tier, count in rows}


def _open_checklists(environment: Environment, risk_tier: str) -> Sequence[Checklist]:
    results = GateResult.objects.select_related("evidence", "waiver__granted_by").order_by(
        "position", "id"
    )
    return list(
        Checklist.objects.filter(
            closed_at=None, environment=environment, version__model__risk_tier=risk_tier
        )
        .select_related("version__model__team", "variant", "policy", "environment")
        .prefetch_related(Prefetch("results", queryset=results))
        .order_by("-id")[:MOST]
    )


def _judged(checklist: Checklist, now: datetime) -> list[Judged]:
    asked = {rule.gate: rule for rule in selectors.rules(checklist.policy)}
    return [
        Judged(
            rule=asked.get(row.gate) or GateRule(row.gate, row.required),
            state=selectors.result_view(row, now=now).state,
            known=_known(row),
            waiver=selectors.excuse(row.waiver),
        )
        for row in checklist.results.all()
    ]


def _known(row: GateResult) -> Known | None:
    """Return what was found, with the expiry that the evidence itself has.

    A result's own expiry has the age limit of the policy in force in it, which is what is tried.
    """
    if not row.verdict or row.measured_at is None:
        return None
    ends = row.evidence.expires_at if row.evidence else None
    return Known(Verdict(row.verdict), row.measured_at, ends)


def _rules(said: PolicyDocument) -> tuple[GateRule, ...]:
    return selectors.rules(Policy(document=as_document(said)))
