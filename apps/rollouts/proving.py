"""What a way back proves: evidence for the gates of releases, of what was seen outside production.

Call it in the transaction that records that stable answers everything again.
"""

from datetime import datetime, timedelta
from typing import Any

from apps.analysis import selectors as analyses
from apps.analysis.domain.values import Answer
from apps.gates import services as gates
from apps.gates.domain.finding import Verdict
from apps.monitoring import selectors as monitoring
from apps.notifications import selectors as notifications
from apps.notifications.selectors import Arrival
from apps.rollouts import drilling, planning, telling
from apps.rollouts.domain import rehearsing
from apps.rollouts.models import Rollout
from controlplane.kernel.actor import Actor

LONGEST = timedelta(minutes=10)  # of a window that somebody may still count
FAULT = "requests at the preview address got a millisecond to be answered in"


def record(row: Rollout, *, seconds: float, at: datetime, actor: Actor) -> None:
    """Record what a rollout that has just gone back shows, where it shows anything.

    Args:
        row: The rollout.
        seconds: From the decision to the moment when stable was seen to answer everything.
        at: That moment.
        actor: Who saw it.
    """
    if row.endpoint.environment.protected or row.stable is None:
        return
    if planning.had_requests(row):
        _way_back(row, seconds, at, actor)
    began = drilling.fault_began(row)
    if row.rehearsal and began is not None:
        _alarm(row, began, at, actor)


def _way_back(row: Rollout, seconds: float, at: datetime, actor: Actor) -> None:
    place = row.endpoint.environment
    _evidence(
        row, "rollback.rehearsed", Verdict.PASSED,
        f"v{row.candidate.version.number} was taken back in {place.slug} within {seconds:.1f} s.",
        at=at, actor=actor, seconds=round(seconds, 3), rehearsal=row.rehearsal, reason=row.reason,
    )  # fmt: skip


def _alarm(row: Rollout, began: datetime, at: datetime, actor: Actor) -> None:
    """Record whether the fault was noticed, and whether whoever should know has heard of it."""
    arrival = notifications.arrival(telling.alarm(row))
    noticed = _judge_noticed(row)
    if not noticed and not rehearsing.ended_by_itself(row.reason):
        return  # a person ended it, or its servers broke: nothing is known
    heard = arrival.at if noticed else None
    facts: dict[str, Any] = {
        "fault": FAULT,
        "fault_at": began.isoformat(),
        "requests": int(row.drill.get("sent", 0)),
        "counted": _counted(row, began, at),
        "alert": "rollout.aborted" if heard else "",
        "alert_at": heard.isoformat() if heard else "",
        "seconds": round((heard - began).total_seconds(), 3) if heard else None,
        "reached": list(arrival.reached) if heard else [],
        "judge": row.reason,
    }
    verdict = Verdict.PASSED if heard else Verdict.FAILED
    _evidence(
        row, "monitoring.proven", verdict, _said(row, noticed, arrival, facts), at=at,
        actor=actor, **facts,
    )  # fmt: skip


def _judge_noticed(row: Rollout) -> bool:
    run = analyses.of(planning.subject(row))
    return run is not None and (bool(run.limit_hit) or run.answer == Answer.WORSE)


def _said(row: Rollout, noticed: bool, arrival: Arrival, facts: dict[str, Any]) -> str:
    place = row.endpoint.environment.slug
    if not noticed:
        return f"A fault injected in {place} raised no alarm: {row.reason}"
    if arrival.at is None:
        return f"A fault injected in {place} was noticed, and its alert reached nobody."
    reached = " and ".join(arrival.reached)
    return (
        f"A fault injected in {place} was noticed, and its alert reached {reached} after "
        f"{facts['seconds']:.1f} s."
    )


def _counted(row: Rollout, began: datetime, at: datetime) -> int:
    """Return the failures that the proxy counted for the candidate since the fault.

    A window is longer than ten seconds when nobody read the proxy for a while, so what counts is
    when it ends.
    """
    rows = monitoring.traffic_windows([row.candidate_id], after=began - LONGEST, until=at)
    since = [w for w in rows if w.starts_at + timedelta(seconds=w.seconds) > began]
    return sum(window.errors_5xx for window in since)


def _evidence(
    row: Rollout, key: str, verdict: Verdict, sentence: str, *, at: datetime, actor: Actor,
    **facts: Any,
) -> None:  # fmt: skip
    gates.record_measured(
        actor=actor,
        version=row.candidate.version,
        key=key,
        subject=row.candidate.bundle_digest,
        verdict=verdict,
        sentence=sentence,
        facts={
            **facts, "rollout": row.public_id, "environment": row.endpoint.environment.slug,
        },
        measured_at=at,
    )  # fmt: skip
