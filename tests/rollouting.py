"""A rollout on its way, for tests that need one and no loop."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.analysis import services as analysis
from apps.analysis.models import AnalysisRun
from apps.endpoints import trials
from apps.endpoints.models import Revision
from apps.registry.models import RegisteredModel
from apps.rollouts import planning
from apps.rollouts.domain import document
from apps.rollouts.models import Rollout, RolloutEvent
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from tests import factories

CANARY = {"kind": "canary"}


def rollout(
    *,
    model: RegisteredModel | None = None,
    environment: str = "production",
    strategy: Mapping[str, Any] = CANARY,
    has_stable: bool = True,
    **columns: Any,
) -> Rollout:
    """Return a rollout of a second version, whose first step the endpoint was asked for."""
    now = SystemClock().now()
    endpoint = factories.endpoint(model=model or factories.model(), environment=environment)
    stable = factories.revision(endpoint=endpoint) if has_stable else None
    candidate = factories.revision(endpoint=endpoint, state="shifting", observed_weight=5)
    made = factories.rollout(
        candidate=candidate,
        stable=stable,
        strategy=document.parse(strategy),
        **{"release_number": 7, "state": "progressing", "next_reconcile_at": now, **columns},
    )
    trials.ask(endpoint.pk, planning.wanted(made), now=now, wakes=("rollout", made.pk))
    if planning.is_judged(made) and made.state != "pending":
        analysis.begin(
            actor=worker("rollouts"), subject=planning.subject(made), stable=stable,
            candidate=candidate, plan=planning.analysis_plan(made), wakes=("rollout", made.pk),
            now=now,
        )  # fmt: skip
    return made


def judged(row: Rollout, **columns: Any) -> AnalysisRun:
    """Let the judge have said something; return the analysis."""
    run = AnalysisRun.objects.get(subject=planning.subject(row))
    for name, value in {"state": "running", "looked_at": SystemClock().now(), **columns}.items():
        setattr(run, name, value)
    run.save()
    return run


def event(row: Rollout, kind: str, sentence: str, at: datetime | None = None) -> RolloutEvent:
    """Add to a rollout's log."""
    return RolloutEvent.objects.create(
        rollout=row, at=at or SystemClock().now(), kind=kind, sentence=sentence, actor="factory"
    )


def in_force(revision: Revision, weight: int) -> None:
    """Let a revision be seen to answer `weight` percent of the requests."""
    Revision.objects.filter(pk=revision.pk).update(observed_weight=weight)
