"""A person's verbs on rollouts, and starting one: only with an authorization in hand.

Each verb is one transaction and one lock; it takes the lease from a worker in the middle of a
pass, so the person always wins.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from apps.accounts.domain import access
from apps.builds.models import Variant
from apps.endpoints import revisions, trials
from apps.environments.models import Environment
from apps.registry.models import ModelVersion
from apps.rollouts import moves, planning, selectors, telling
from apps.rollouts.domain import document
from apps.rollouts.domain.authorization import Authorization, Ground
from apps.rollouts.domain.decide import PauseKind
from apps.rollouts.domain.states import ROLLOUT, RolloutMove, RolloutState
from apps.rollouts.models import Rollout
from apps.rollouts.telling import Kind
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

KIND = "rollout"
LONGEST_REASON = 2_000
Columns = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to run, and how its traffic is moved.

    Attributes:
        version: The version.
        variant: Its variant; its bundle is the one that was authorized.
        environment: Where.
        runtime: A name in the runtime catalogue; "" for the variant's best.
        replicas: How many processes.
        configuration: Settings of the runtime.
        strategy: A strategy's document.
        release_number: What people call the release by.
    """

    version: ModelVersion
    variant: Variant
    environment: Environment
    runtime: str
    replicas: int
    configuration: Mapping[str, Any]
    strategy: Mapping[str, Any]
    release_number: int | None = None


@transaction.atomic
def start(*, authorization: Authorization, plan: Plan, actor: Actor, reason: str) -> Rollout:
    """Begin a rollout. Starting it again with the same authorization returns the first.

    Nothing of the candidate starts before it is known to fit.

    Raises:
        Conflict: The bundle is not the one that was authorized, another rollout moves the
            endpoint's traffic already, or it is a rehearsal where none may be.
    """
    rehearsal = authorization.ground is Ground.REHEARSAL
    if rehearsal:
        _refuse_rehearsal_in(plan.environment)
    if plan.variant.bundle_digest != authorization.bundle_digest:
        raise Conflict(
            f"{plan.variant.kind} is now {plan.variant.bundle_digest[:19]}, and what was "
            f"authorized is {authorization.bundle_digest[:19]}.",
            remedy="Propose a release of what stands there now.",
            code="rollout.not_what_was_authorized",
        )
    begun = selectors.of_release(authorization.release)
    if begun is not None:
        return begun
    strategy = document.parse(plan.strategy)
    stable = selectors.live_revision(plan.version.model_id, plan.environment.pk)
    _refuse_second(plan)
    served = revisions.add(
        actor=actor, verb="endpoints.serve", model=plan.version.model, version=plan.version,
        environment=plan.environment, variant=plan.variant.kind, runtime=plan.runtime,
        replicas=plan.replicas, configuration=plan.configuration, reason=reason,
        bundle_digest=authorization.bundle_digest, anew=rehearsal,
    )  # fmt: skip
    now = SystemClock().now()
    rollout = Rollout.objects.create(
        endpoint=served.endpoint, candidate=served.revision,
        stable=None if stable == served.revision else stable,
        release=authorization.release, release_number=plan.release_number,
        authorization=authorization.as_dict(), strategy=document.as_document(strategy),
        state_since=now, started_by=actor.name, next_reconcile_at=now, rehearsal=rehearsal,
    )  # fmt: skip
    trials.ask(
        served.endpoint.pk, planning.wanted(rollout), now=now, wakes=(KIND, rollout.pk),
        keep_warm=strategy.keep_warm,
    )  # fmt: skip
    telling.tell(
        actor, "begin", rollout, after={**authorization.as_dict(), "strategy": rollout.strategy},
        reason=reason,
    )  # fmt: skip
    telling.log(
        rollout, Kind.BEGUN, f"{telling.subject(rollout)} begins.", at=now, actor=actor.name,
        reason=reason,
    )  # fmt: skip
    telling.changed(rollout)
    nudge(KIND, rollout.pk)
    return rollout


def pause(*, actor: Actor, rollout: str, reason: str) -> Rollout:
    """Keep the traffic as it is until somebody resumes.

    Raises:
        Denied: The actor may not.
        Missing: There is no such rollout.
        Conflict: It is not climbing.
        Invalid: No reason is given.
    """
    return _command(
        actor, "pause", rollout, reason,
        lambda row, now: moves.pause(row, PauseKind.PERSON, reason, actor=actor, now=now),
    )  # fmt: skip


def resume(*, actor: Actor, rollout: str, reason: str = "") -> Rollout:
    """Go on; where the rollout asked a person, this says that the step is good enough.

    Raises:
        Denied: The actor may not.
        Missing: There is no such rollout.
        Conflict: It is not paused.
    """

    def go_on(row: Rollout, now: datetime) -> Columns:
        asked = row.pause not in ("", PauseKind.PERSON)
        return moves.resume(row, reason, actor=actor, now=now, accepts=asked)

    return _command(actor, "resume", rollout, reason, go_on, needs_reason=False)


def skip(*, actor: Actor, rollout: str, reason: str) -> Rollout:
    """Go on to the next step now, whatever this one waits for.

    Raises:
        Denied: The actor may not.
        Missing: There is no such rollout.
        Conflict: It is neither climbing nor paused, or has no step left to skip.
        Invalid: No reason is given.
    """

    def go_on(row: Rollout, now: datetime) -> Columns:
        steps = planning.of(row).steps
        if row.step >= len(steps):
            raise _illegal(row, "skip")
        name = steps[row.step].name
        telling.tell(actor, "skip", row, before={"step": row.step}, reason=reason)
        telling.log(
            row, Kind.SKIPPED, f"“{name}” is skipped.", at=now, actor=actor.name, reason=reason
        )
        columns: Columns = {}
        if row.state == RolloutState.PAUSED:
            columns = moves.resume(row, reason, actor=actor, now=now)
            row.state = columns["state"]
        if row.step + 1 < len(steps):
            return columns | moves.advance(row, row.step + 1, reason, actor=actor, now=now)
        return columns | moves.promote(row, reason, actor=actor, now=now)

    return _command(actor, "skip", rollout, reason, go_on, move=RolloutMove.PROMOTE)


def promote(*, actor: Actor, rollout: str, reason: str) -> Rollout:
    """Let the candidate answer everything now, without the steps that are left.

    Raises:
        Denied: The actor may not.
        Missing: There is no such rollout.
        Conflict: It is neither climbing nor paused.
        Invalid: No reason is given.
    """
    return _command(
        actor, "promote", rollout, reason,
        lambda row, now: moves.promote(row, reason, actor=actor, now=now),
    )  # fmt: skip


def abort(*, actor: Actor, rollout: str, reason: str) -> Rollout:
    """Send everything back to the stable revision; before the start, just end it.

    Raises:
        Denied: The actor may not.
        Missing: There is no such rollout.
        Conflict: It has ended, or goes back already.
        Invalid: No reason is given.
    """
    return _command(
        actor, "abort", rollout, reason, lambda row, now: _end(row, reason, actor, now)
    )


@transaction.atomic
def make_way(*, actor: Actor, rollout: Rollout, reason: str) -> None:
    """End a rollout because something that may not wait comes after it.

    One that goes back already is left to that.
    """
    now = SystemClock().now()
    with commanding(Rollout, rollout.pk, now=now) as row:
        if not selectors.can_end(row):
            return
        columns = _end(row, reason, actor, now)
        _write(row, columns)
    telling.changed(row)
    nudge(KIND, row.pk)


def _end(row: Rollout, reason: str, actor: Actor, now: datetime) -> Columns:
    if row.state == RolloutState.PENDING:
        return moves.cancel(row, reason, actor=actor, now=now)
    return moves.abort(row, reason, actor=actor, now=now)


def _command(
    actor: Actor,
    verb: str,
    rollout: str,
    reason: str,
    do: Callable[[Rollout, datetime], Columns],
    *,
    move: RolloutMove | None = None,
    needs_reason: bool = True,
) -> Rollout:
    """Run one verb: check who asks, lock, refuse what is not possible now, write.

    Args:
        actor: Who asks.
        verb: The verb, as the access table and the ledger spell it.
        rollout: Its public id.
        reason: Why.
        do: Makes the move, and returns the columns to write.
        move: A move that must be possible now; None for the one called as the verb is.
        needs_reason: Whether the verb is refused without one.
    """
    with transaction.atomic():
        seen = selectors.rollout(actor, rollout)
        team, where = seen.endpoint.model.team.slug, seen.endpoint.environment.slug
        access.require(actor, f"rollouts.{verb}", team=team, environment=where)
        check_reason(verb, reason, needed=needs_reason)
        now = SystemClock().now()
        with commanding(Rollout, seen.pk, now=now) as row:
            _refuse_forward(row, verb)
            needed = {move} if move else {RolloutMove(verb)}
            also = {RolloutMove.CANCEL} if verb == "abort" else set()
            if not (needed | also) & set(_moves(row)):
                raise _illegal(row, verb)
            _write(row, do(row, now))
        telling.changed(row)
        nudge(KIND, row.pk)
    return selectors.rollout(actor, rollout)


def _write(row: Rollout, columns: Columns) -> None:
    for name, value in columns.items():
        setattr(row, name, value)


def _moves(row: Rollout) -> list[RolloutMove]:
    return list(ROLLOUT.moves_from(RolloutState(row.state)))


def check_reason(verb: str, reason: str, *, needed: bool = True) -> None:
    """Refuse a reason that is missing or too long.

    Raises:
        Invalid: It is.
    """
    if len(reason) > LONGEST_REASON:
        raise Invalid(
            f"The reason has {len(reason)} letters; at most {LONGEST_REASON} are kept.",
            remedy="Say it shorter.",
            field="reason",
            code="rollout.reason_too_long",
        )
    if needed and not reason.strip():
        raise Invalid(
            f"To {verb} a rollout needs a reason.",
            remedy="Say in a few words why: whoever reads the log will want to know.",
            field="reason",
            code="rollout.reason_needed",
        )


def _illegal(row: Rollout, verb: str) -> Conflict:
    possible = ", ".join(sorted(str(m) for m in _moves(row) if m in COMMANDS)) or "nothing"
    state = row.state.replace("_", " ")
    return Conflict(
        f"This rollout is {state}, and cannot {verb} now.",
        remedy=f"Possible now: {possible}.",
        code="rollout.illegal_move",
    )


def _refuse_rehearsal_in(environment: Environment) -> None:
    if environment.protected:
        raise Conflict(
            f"{environment.slug} is protected: nothing is made to fail there.",
            remedy="Rehearse in an environment that is not protected.",
            field="environment",
            code="rollout.rehearsal_where_protected",
        )


def _refuse_forward(row: Rollout, verb: str) -> None:
    if row.rehearsal and verb in ("skip", "promote"):
        raise Conflict(
            "This is a rehearsal: it goes back, and never on.",
            remedy="Propose a release to bring this version up for good.",
            code="rollout.only_a_rehearsal",
        )


COMMANDS = (RolloutMove.PAUSE, RolloutMove.RESUME, RolloutMove.PROMOTE, RolloutMove.ABORT)


def _refuse_second(plan: Plan) -> None:
    other = selectors.active(plan.version.model_id, plan.environment.pk)
    if other is not None:
        raise Conflict(
            f"Another rollout moves the traffic of {plan.version.model.name} in "
            f"{plan.environment.slug}.",
            remedy="It has to end first.",
            code="rollout.another_is_active",
        )
