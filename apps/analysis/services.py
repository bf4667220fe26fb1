"""What a rollout does with an analysis: begin it, tell it of a step, end it.

A worker looks and judges (`reconcile`); these write what is wanted of it, one transaction each.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from apps.analysis.domain.ending import move_at_end
from apps.analysis.domain.looking import NEW_STEP, NOTHING_YET
from apps.analysis.domain.spec import ASKED
from apps.analysis.domain.states import ANALYSIS, ENDED, AnalysisState
from apps.analysis.domain.values import Answer
from apps.analysis.models import AnalysisRun, Asking
from apps.audit import services as audit
from apps.endpoints.models import Revision
from controlplane.db.live import announce_all
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing

KIND = "analysis"


@transaction.atomic
def begin(
    *,
    actor: Actor,
    subject: str,
    stable: Revision | None,
    candidate: Revision,
    plan: Mapping[str, Any],
    wakes: tuple[str, int],
    now: datetime,
) -> AnalysisRun:
    """Begin to judge a canary. Beginning again for the same subject returns the first.

    Args:
        actor: Who has it done.
        subject: What it is for ("rollout/<public id>").
        stable: The revision to compare with; None when there is none, and then only hard limits
            say anything.
        candidate: The canary.
        plan: {"metrics": as `domain.spec` reads it, "alpha": a share, "limits": ...}; with
            "teaches": false, later runs learn nothing from this one.
        wakes: The kind and the id of the row to nudge when there is something new.
        now: From when on; slices of time that began before do not count.
    """
    run, created = AnalysisRun.objects.get_or_create(
        subject=subject,
        defaults={
            "stable": stable, "candidate": candidate, "plan": dict(plan), "state_since": now,
            "started_at": now, "step_at": now, "consumed_until": now, "sentence": NOTHING_YET,
            "wakes_kind": wakes[0], "wakes_id": wakes[1], "next_reconcile_at": now,
        },
    )  # fmt: skip
    if not created:
        return run
    Asking.objects.bulk_create(
        Asking(run=run, metric=metric["name"], next_reconcile_at=now)
        for metric in run.plan.get("metrics") or []
        if metric.get("source") in list(ASKED)
    )
    _tell(actor, "analysis.begin", run, after={"state": run.state, "plan": run.plan})
    _changed(run)
    nudge(KIND, run.pk)
    return run


@transaction.atomic
def step(*, actor: Actor, subject: str, index: int, now: datetime) -> AnalysisRun:
    """Tell an analysis that a step of its rollout has begun: it has to be proven anew.

    Slices that begin from `now` on are of the new step. What proves the canary worse is kept.
    Telling of a step again, or of an earlier one, changes nothing.

    Raises:
        Missing: There is no analysis of that subject.
    """
    seen = _of(subject)
    if index <= seen.step or AnalysisState(seen.state) in ENDED:
        return seen
    with commanding(AnalysisRun, seen.pk, now=now) as run:
        if index > run.step:
            before = run.step
            run.step, run.step_at = index, now
            if run.answer != Answer.WORSE:
                run.answer, run.sentence, run.remaining_seconds = Answer.NOT_YET, NEW_STEP, None
            _tell(actor, "analysis.step", run, before={"step": before}, after={"step": index})
            _changed(run)
    return run


@transaction.atomic
def end(*, actor: Actor, subject: str, now: datetime) -> AnalysisRun:
    """End an analysis because its rollout has ended; its last answer says how.

    One that has ended stays as it is.

    Raises:
        Missing: There is no analysis of that subject.
    """
    seen = _of(subject)
    if AnalysisState(seen.state) in ENDED:
        return seen
    with commanding(AnalysisRun, seen.pk, now=now) as run:
        state = AnalysisState(run.state)
        if state in ENDED:
            return run
        move = move_at_end(state, Answer(run.answer), run.limit_hit)
        run.state, run.state_since, run.ended_at = ANALYSIS.after(state, move), now, now
        run.remaining_seconds = None
        _tell(
            actor, f"analysis.{move}", run,
            before={"state": str(state)}, after={"state": str(run.state), "answer": run.answer},
            reason=run.limit_hit or run.sentence,
        )  # fmt: skip
        _changed(run)
    return run


def _of(subject: str) -> AnalysisRun:
    run = AnalysisRun.objects.filter(subject=subject).first()
    if run is None:
        raise Missing(
            f"There is no analysis of {subject}.",
            remedy="It begins with the first step that asks for one.",
            code="analysis.missing",
        )
    return run


def _tell(actor: Actor, verb: str, run: AnalysisRun, **what: Any) -> None:
    endpoint = run.candidate.endpoint
    audit.record(
        actor=actor,
        verb=verb,
        target=f"analysis/{run.public_id}",
        subject=f"{endpoint.name} revision {run.candidate.number}",
        **what,
    )


def _changed(run: AnalysisRun) -> None:
    announce_all([f"analysis/{run.public_id}", run.subject])
