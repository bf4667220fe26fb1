"""One move of a rollout, with everything that belongs to it: for workers and for people alike.

Each function expects the caller's transaction and a row that nobody else can write: under the
lease of a pass, or locked by a command. It returns the columns to write; what it does besides
(the endpoint's intent, the analysis, log, ledger, people) happens in the same transaction.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from apps.analysis import services as analysis
from apps.endpoints import trials
from apps.endpoints.models import Revision
from apps.rollouts import planning, proving, telling
from apps.rollouts.domain import words
from apps.rollouts.domain.decide import PauseKind
from apps.rollouts.domain.preflight import Fit
from apps.rollouts.domain.states import ROLLOUT, RolloutMove, RolloutState
from apps.rollouts.domain.steps import Allocation
from apps.rollouts.models import Rollout
from apps.rollouts.telling import Kind
from controlplane.kernel.actor import Actor

Columns = dict[str, Any]
NOT_PAUSED: Columns = {"pause": "", "pause_reason": "", "paused_by": ""}


def start(row: Rollout, fit: Fit, *, actor: Actor, now: datetime) -> Columns:
    """Let the candidate start, and the judge with it."""
    columns = _moved(row, RolloutMove.START, actor=actor, now=now)
    plan = planning.of(row)
    if plan.strategy.judged and row.stable is not None:
        analysis.begin(
            actor=actor, subject=planning.subject(row), stable=row.stable,
            candidate=row.candidate, plan=planning.analysis_plan(row), wakes=("rollout", row.pk),
            now=now,
        )  # fmt: skip
    direct(row, step=row.step, state=RolloutState.PROGRESSING, now=now)
    _say(row, Kind.FITS, fit.sentence or "It fits.", actor=actor, now=now, fit=kept_fit(fit))
    return columns | {"fit": kept_fit(fit), "waits_for": ""}


def cancel(row: Rollout, reason: str, *, actor: Actor, now: datetime) -> Columns:
    """End it before anything of it has started."""
    columns = _moved(row, RolloutMove.CANCEL, actor=actor, now=now, reason=reason)
    trials.withdraw(row.candidate, now=now)
    _say(row, Kind.CANCELLED, "The rollout was cancelled.", actor=actor, now=now, reason=reason)
    return columns | {"reason": reason}


def advance(row: Rollout, index: int, reason: str, *, actor: Actor, now: datetime) -> Columns:
    """Go on to another step."""
    steps = planning.of(row).steps
    direct(row, step=index, state=RolloutState(row.state), now=now)
    _judge_anew(row, index, actor=actor, now=now)
    name = steps[index].name
    telling.tell(
        actor, "advance", row, before={"step": row.step}, after={"step": index, "name": name},
        reason=reason,
    )  # fmt: skip
    _say(row, Kind.ADVANCED, f"On to “{name}”.", actor=actor, now=now, reason=reason)
    return {"step": index, "step_seen_at": None, "accepted": False}


def reallocate(row: Rollout, split: Allocation, *, actor: Actor, now: datetime) -> Columns:
    """Split the requests as the bandit wants."""
    direct(row, step=row.step, state=RolloutState(row.state), now=now, allocation=split)
    kept: Columns = {"weight": split.weight, "segments": dict(split.segments)}
    telling.tell(actor, "reallocate", row, before=row.allocation, after=kept)
    sentence = f"The bandit gives the candidate {words.shared_out(split)}."
    _say(row, Kind.REALLOCATED, sentence, actor=actor, now=now, **kept)
    return {"allocation": kept, "allocated_at": now}


def pause(row: Rollout, kind: PauseKind, reason: str, *, actor: Actor, now: datetime) -> Columns:
    """Stand still."""
    columns = _moved(row, RolloutMove.PAUSE, actor=actor, now=now, reason=reason)
    _say(row, Kind.PAUSED, _standing_still(row), actor=actor, now=now, reason=reason)
    telling.paused(row, kind, reason)
    _redirect(row, RolloutState.PAUSED, now=now)
    by = actor.name if kind is PauseKind.PERSON else ""
    return columns | {"pause": kind, "pause_reason": reason, "paused_by": by}


def resume(
    row: Rollout, reason: str, *, actor: Actor, now: datetime, accepts: bool = False
) -> Columns:
    """Go on; `accepts` when a person says by it that the step is good enough."""
    columns = _moved(row, RolloutMove.RESUME, actor=actor, now=now, reason=reason)
    _say(row, Kind.RESUMED, "The rollout goes on.", actor=actor, now=now, reason=reason)
    _redirect(row, RolloutState.PROGRESSING, now=now)
    return columns | NOT_PAUSED | {"accepted": accepts}


def promote(row: Rollout, reason: str, *, actor: Actor, now: datetime) -> Columns:
    """Let the candidate answer everything."""
    columns = _moved(row, RolloutMove.PROMOTE, actor=actor, now=now, reason=reason)
    last = len(planning.of(row).steps)
    direct(row, step=last, state=RolloutState.PROMOTING, now=now)
    _say(row, Kind.PROMOTED, "All requests move over.", actor=actor, now=now, reason=reason)
    more = {"step": last, "step_seen_at": None, "decided_at": now, "waits_for": ""}
    return columns | NOT_PAUSED | more


def settle(row: Rollout, *, actor: Actor, now: datetime) -> Columns:
    """Record that the candidate was seen to answer everything."""
    columns = _moved(row, RolloutMove.SETTLE, actor=actor, now=now)
    _end_analysis(row, actor=actor, now=now)
    seen = max(row.candidate.live_at or now, row.decided_at or now)
    seconds = (seen - (row.decided_at or seen)).total_seconds()
    warm = planning.minutes(planning.of(row).strategy.keep_warm)
    sentence = f"v{row.candidate.version.number} answers everything."
    if row.stable is not None and warm:
        sentence += f" v{row.stable.version.number} stays warm for {warm}."
    _say(row, Kind.SETTLED, sentence, actor=actor, now=now, seconds=round(seconds, 3))
    return columns | {"settled_at": seen, "waits_for": ""}


def abort(row: Rollout, reason: str, *, actor: Actor, now: datetime) -> Columns:
    """Send everything back to the stable revision."""
    columns = _moved(row, RolloutMove.ABORT, actor=actor, now=now, reason=reason)
    trials.withdraw(row.candidate, now=now)
    where = f"v{row.stable.version.number}" if row.stable else "nobody"
    going = "go back to" if planning.had_requests(row) else "stay with"
    _say(row, Kind.ABORTED, f"All requests {going} {where}.", actor=actor, now=now,
         reason=reason)  # fmt: skip
    telling.aborted(row, reason)
    more = {"reason": reason, "decided_at": now, "waits_for": ""}
    return columns | NOT_PAUSED | more


def restore(row: Rollout, *, actor: Actor, now: datetime) -> Columns:
    """Record that the stable revision was seen to answer everything again."""
    seen = _restored_at(row.stable, row.decided_at or now, now)
    seconds = (seen - (row.decided_at or seen)).total_seconds()
    columns = _moved(row, RolloutMove.RESTORE, actor=actor, now=now, seconds=round(seconds, 3))
    _end_analysis(row, actor=actor, now=now)
    sentence = _restored(row, seconds)
    _say(row, Kind.RESTORED, sentence, actor=actor, now=now, seconds=round(seconds, 3))
    proving.record(row, seconds=seconds, at=seen, actor=actor)
    return columns | {"settled_at": seen}


def _restored(row: Rollout, seconds: float) -> str:
    if row.stable is None:
        return "Nothing answers, as before."
    who = f"v{row.stable.version.number}"
    if not planning.had_requests(row):
        return f"{who} answers everything, as before."
    return f"{who} answers everything again, {seconds:.1f} s after the decision."


def inject_fault(row: Rollout, *, actor: Actor, now: datetime) -> Columns:
    """Have requests at a rehearsal's preview address fail from now on."""
    row.drill = {**row.drill, "fault_at": now.isoformat()}
    direct(row, step=row.step, state=RolloutState(row.state), now=now)
    telling.tell(actor, "inject_fault", row, after={"fault": proving.FAULT})
    _say(row, Kind.FAULT, f"The fault is injected: {proving.FAULT}.", actor=actor, now=now)
    return {"drill": row.drill}


def direct(
    row: Rollout,
    *,
    step: int,
    state: RolloutState,
    now: datetime,
    allocation: Allocation | None = None,
) -> None:
    """Ask the endpoint for what a step wants."""
    wanted = planning.wanted(row, step=step, state=state, allocation=allocation)
    trials.ask(
        row.endpoint_id, wanted, now=now, wakes=("rollout", row.pk),
        keep_warm=planning.of(row).strategy.keep_warm,
    )  # fmt: skip


def _redirect(row: Rollout, state: RolloutState, *, now: datetime) -> None:
    """Ask the endpoint for something else, where the row's new state wants that."""
    if planning.wanted(row, state=state) != planning.wanted(row):
        direct(row, step=row.step, state=state, now=now)


def _restored_at(stable: Revision | None, decided: datetime, now: datetime) -> datetime:
    """Return when stable was first seen to answer everything after the decision."""
    since = stable.observed_weight_since if stable else None
    return min(now, max(decided, since or decided))


def _moved(
    row: Rollout, move: RolloutMove, *, actor: Actor, now: datetime, reason: str = "", **more: Any
) -> Columns:
    """Return the columns of a move, and tell the ledger of it."""
    before = RolloutState(row.state)
    after = ROLLOUT.after(before, move)
    telling.tell(
        actor, str(move), row, before={"state": str(before), "step": row.step},
        after={"state": str(after), **more}, reason=reason,
    )  # fmt: skip
    ended = after in ROLLOUT.terminal()
    return {"state": after, "state_since": now, "ended_at": now if ended else None}


def _judge_anew(row: Rollout, index: int, *, actor: Actor, now: datetime) -> None:
    if planning.is_judged(row):
        analysis.step(actor=actor, subject=planning.subject(row), index=index, now=now)


def _end_analysis(row: Rollout, *, actor: Actor, now: datetime) -> None:
    if planning.is_judged(row):
        analysis.end(actor=actor, subject=planning.subject(row), now=now)


def _standing_still(row: Rollout) -> str:
    steps = planning.of(row).steps
    name = steps[row.step].name if row.step < len(steps) else "100 %"
    return f"It stands still at “{name}”."


def kept_fit(fit: Fit) -> dict[str, Any]:
    """Return what a row keeps of the pre-flight."""
    told = asdict(fit)
    outage = fit.outage.total_seconds() if fit.outage else None
    return told | {"fitting": str(fit.fitting), "outage": outage}


def _say(
    row: Rollout,
    kind: Kind,
    sentence: str,
    *,
    actor: Actor,
    now: datetime,
    reason: str = "",
    **facts: Any,
) -> None:
    telling.log(row, kind, sentence, at=now, actor=actor.name, reason=reason, **facts)
