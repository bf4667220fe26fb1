"""A person's verbs on releases: each is one transaction, one lock, one ledger entry.

None of them moves a release on by itself: they write what was meant, and the next pass of a
worker, a moment later, computes what follows.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Max

from apps.accounts.domain import access
from apps.approvals import selectors as approved
from apps.approvals import services as approvals
from apps.approvals.domain.quorum import Kind
from apps.audit import services as audit
from apps.builds import selectors as builds
from apps.builds.models import Variant
from apps.endpoints.domain import runtimes
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.gates import selectors as gates
from apps.gates import services as checklists
from apps.gates.domain import policy as policies
from apps.registry import selectors as registry
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion
from apps.releases import selectors, standing, telling
from apps.releases.domain.states import RELEASE, WAITING, ReleaseMove, ReleaseState
from apps.releases.models import Comment, Release
from apps.rollouts.domain import strategy as strategies
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid

KIND = "release"
LIFE = timedelta(days=14)  # a proposal that nobody has decided by then expires
LONGEST_TEXT = 10_000
NUMBERING = 727_301  # the advisory lock under which numbers are given out
REVISABLE = ("variant", "runtime", "replicas", "configuration", "strategy", "summary")
REFUSED = (VersionState.ARCHIVED, VersionState.REJECTED)


@transaction.atomic
def propose(
    *,
    actor: Actor,
    model: str,
    version: int,
    environment: str,
    variant: str = "",
    runtime: str = "",
    replicas: int | None = None,
    configuration: Mapping[str, Any] | None = None,
    strategy: Mapping[str, Any] | None = None,
    summary: str = "",
    pipeline_url: str = "",
    promoted_from: Release | None = None,
) -> tuple[Release, bool]:
    """Propose to run a version in an environment.

    Proposing again what is proposed already changes nothing, so CI may repeat itself.

    Args:
        actor: Who proposes.
        model: The model's name.
        version: The version's number.
        environment: The environment's slug.
        variant: A `VariantKind`; the fastest that passed its proof by default.
        runtime: A name in the runtime catalogue; the variant's best by default.
        replicas: How many processes; the environment's default by default.
        configuration: Settings of the runtime.
        strategy: How its traffic is moved; see `rollouts.domain.strategy`.
        summary: Why.
        pipeline_url: Where CI made it.
        promoted_from: The release in another environment that it repeats.

    Returns:
        The release, and whether it is new.

    Raises:
        Denied: The actor may not.
        Missing: There is no such model, version, environment or variant.
        Conflict: The version is archived or rejected, or the environment has no policy.
        Invalid: Something of what would be served does not fit.
    """
    row = registry.model(actor, model)
    where = environments.by_slug(environment)
    access.require(actor, "releases.propose", team=row.team.slug, environment=where.slug)
    number = registry.version_of(row, version)
    _refuse_unfit(number)
    wanted = _wanted(number, where, variant, runtime, replicas, configuration, strategy)
    known = _open_like(number, where, wanted)
    if known is not None:
        return known, False
    _check_policy(where, row.risk_tier, wanted["strategy"])
    made = _create(
        actor, number, where, summary=summary[:LONGEST_TEXT], pipeline_url=pipeline_url,
        promoted_from=promoted_from, **wanted,
    )  # fmt: skip
    _tell(actor, "propose", made, after=wanted, reason=summary)
    _changed(made)
    return made, True


@transaction.atomic
def revise(*, actor: Actor, number: int, reason: str = "", **changes: Any) -> Release:
    """Change what an open release would ship. What was approved is void by that.

    Args:
        actor: Who changes it.
        number: The release's.
        reason: Why.
        changes: Any of `REVISABLE`.

    Raises:
        Denied: The actor may not.
        Missing: There is no such release or variant.
        Conflict: It has begun to move traffic, or has ended.
        Invalid: Something does not fit.
    """
    seen = _allowed(actor, "releases.revise", number)
    unknown = sorted(set(changes) - set(REVISABLE))
    if unknown:
        raise Invalid(f"{unknown[0]} of a release cannot be changed.", field=unknown[0])
    now = SystemClock().now()
    with commanding(Release, seen.pk, now=now) as row:
        _refuse_moving(row)
        before = _said(row)
        _revise(actor, row, seen, changes)
        row.expires_at = now + LIFE
        after = _said(row)
        if before != after:
            _tell(actor, "revise", row, before=before, after=after, reason=reason)
    _changed(row)
    return selectors.release(actor, number)


@transaction.atomic
def withdraw(*, actor: Actor, number: int, reason: str = "") -> Release:
    """Take back a release that has moved no traffic.

    Raises:
        Denied: The actor neither proposed it nor may withdraw others'.
        Missing: There is no such release.
        Conflict: It has begun to move traffic, or has ended.
    """
    seen = _allowed(actor, "releases.withdraw", number)
    if seen.state == ReleaseState.WITHDRAWN:
        return seen
    now = SystemClock().now()
    with commanding(Release, seen.pk, now=now) as row:
        _refuse_moving(row)
        if row.request is not None:
            approvals.withdraw(actor=actor, row=row.request, reason=reason or "Withdrawn.")
        if row.checklist is not None:
            checklists.close_checklist(actor=actor, checklist=row.checklist)
        row.end_reason = reason
        _move(row, ReleaseMove.WITHDRAW, now)
        _tell(actor, "withdraw", row, before={"state": seen.state}, reason=reason)
    _changed(row)
    return selectors.release(actor, number)


def approve(*, actor: Actor, number: int, digest: str, reason: str = "") -> Release:
    """Say yes to exactly the digest set that was shown.

    Raises:
        Denied: The actor fills no seat, or proposed it, or made the version.
        Missing: There is no such release.
        Conflict: It waits for nobody's approval, or has changed since it was shown.
    """
    return _decide(actor, number, Kind.APPROVE, digest, reason)


def request_changes(*, actor: Actor, number: int, digest: str, reason: str) -> Release:
    """Ask the proposer to change something; it stays open, and nothing can grant it meanwhile.

    Raises:
        Invalid: No reason is given; and as `approve`.
    """
    return _decide(actor, number, Kind.CHANGES, digest, reason)


def decline(*, actor: Actor, number: int, digest: str, reason: str) -> Release:
    """Say no, for good.

    Raises:
        Invalid: No reason is given; and as `approve`.
    """
    return _decide(actor, number, Kind.DECLINE, digest, reason)


@transaction.atomic
def take_back(*, actor: Actor, number: int, reason: str = "") -> Release:
    """Take back one's own decision, while nothing has begun by it.

    Raises:
        Missing: There is no such release, or the actor has decided nothing.
        Conflict: It has begun to move traffic, or has ended.
    """
    seen = _allowed_to_decide(actor, number)
    with commanding(Release, seen.pk, now=SystemClock().now()) as row:
        _refuse_moving(row)
        if row.request is None:
            raise _waits_for_nobody(row)
        approvals.take_back(actor=actor, request=row.request.public_id, reason=reason)
    _changed(row)
    return selectors.release(actor, number)


@transaction.atomic
def comment(*, actor: Actor, number: int, text: str, answers: str = "") -> Comment:
    """Say something in the discussion; @name tells that person.

    Raises:
        Denied: The actor may not.
        Missing: There is no such release.
        Invalid: There is nothing to say, or too much.
    """
    row = _allowed(actor, "releases.comment", number)
    said = text.strip()
    if not said:
        raise Invalid("The comment is empty.", remedy="Write something.", field="text")
    if len(said) > LONGEST_TEXT:
        raise Invalid(
            f"The comment has {len(said)} characters; at most {LONGEST_TEXT} fit.",
            remedy="Make it shorter, or link to a document.",
            field="text",
        )
    made = Comment.objects.create(
        release=row, person_id=actor.person_id, by=actor.name, text=said,
        answers=row.comments.filter(public_id=answers).first() if answers else None,
    )  # fmt: skip
    _tell(actor, "comment", row, after={"comment": made.public_id})
    telling.commented(row, actor.name, said, people=_taking_part(row) - {actor.person_id or 0})
    announce(f"release/{row.public_id}")
    return made


@transaction.atomic
def promote(
    *, actor: Actor, number: int, environment: str, summary: str = ""
) -> tuple[Release, bool]:
    """Propose in another environment exactly what a release ships in its own.

    Evidence is about bytes, so what is still valid of it counts there as well.

    Raises:
        Denied: The actor may not.
        Missing: There is no such release or environment.
        Conflict: It is the release's own environment; and as `propose`.
    """
    source = selectors.release(actor, number)
    team = source.version.model.team.slug
    access.require(actor, "releases.propose", team=team, environment=environment)
    if environment == source.environment.slug:
        raise Conflict(
            f"R-{number} is a release to {environment} already.",
            remedy="Choose another environment.",
            code="releases.same_environment",
        )
    where = environments.by_slug(environment)
    return propose(
        actor=actor, model=source.version.model.name, version=source.version.number,
        environment=environment, variant=source.variant_kind, runtime=source.runtime,
        replicas=min(max(source.replicas, where.default_replicas), where.max_replicas),
        configuration=source.configuration, strategy=source.strategy,
        summary=summary or source.summary, pipeline_url=source.pipeline_url,
        promoted_from=source,
    )  # fmt: skip


@transaction.atomic
def break_glass(*, actor: Actor, number: int, reason: str) -> Release:
    """Ship a release past its gates and approvals, loudly and for a short time.

    The policy must allow it. Everybody concerned is told at once, and a review is owed.

    Raises:
        Denied: The actor may not.
        Missing: There is no such release.
        Conflict: The policy does not allow it, or it is too late, or it has no variant to ship.
        Invalid: No reason is given.
    """
    seen = _allowed(actor, "releases.break_glass", number)
    _check_reason(reason, "Say what is broken, and why it cannot wait.")
    now = SystemClock().now()
    rules = standing.Standing(seen, now).rules.emergency
    if not rules.allowed:
        raise Conflict(
            f"The policy of {seen.environment.slug} for {seen.version.model.risk_tier}-risk "
            "models allows no emergency release.",
            remedy="Get it approved, or roll back to what was approved before.",
            code="releases.no_emergency",
        )
    with commanding(Release, seen.pk, now=now) as row:
        _refuse_moving(row)
        if row.request is not None:
            approvals.withdraw(actor=actor, row=row.request, reason="The glass was broken.")
        row.emergency_by, row.emergency_reason = actor.name, reason.strip()[:LONGEST_TEXT]
        row.emergency_until, row.review_due_at = now + rules.lasts, now + rules.review_within
        _tell(
            actor, "break_glass", row, reason=reason,
            after={"until": row.emergency_until.isoformat(),
                   "review_due": row.review_due_at.isoformat()},
        )  # fmt: skip
        telling.glass_broken(row)
        telling.review_due(row)
    _changed(row)
    return selectors.release(actor, number)


@transaction.atomic
def review(*, actor: Actor, number: int, text: str) -> Release:
    """Write the review that an emergency release owes.

    Raises:
        Denied: The actor may not, or broke the glass.
        Missing: There is no such release.
        Conflict: It owes none.
        Invalid: There is no text.
    """
    seen = _allowed(actor, "releases.review", number)
    if seen.review_due_at is None or seen.reviewed_at is not None:
        raise Conflict(f"R-{number} owes no review.", code="releases.no_review_due")
    if actor.name.split("/")[0] == seen.emergency_by.split("/")[0]:
        raise Denied(
            "Whoever broke the glass does not review it.",
            remedy="Another reviewer of the team does.",
            code="releases.own_emergency",
        )
    _check_reason(text, "Say what happened, and what will be different next time.", field="text")
    with commanding(Release, seen.pk, now=SystemClock().now()) as row:
        row.review, row.reviewed_by = text.strip()[:LONGEST_TEXT], actor.name
        row.reviewed_at = SystemClock().now()
        _tell(actor, "review", row, after={"reviewed_by": actor.name}, reason=text[:500])
    _changed(row)
    return selectors.release(actor, number)


@transaction.atomic
def roll_back(
    *, actor: Actor, model: str, environment: str, reason: str, to: int | None = None
) -> Release:
    """Go back to a release that was live here before; it needs nobody's approval.

    Args:
        actor: Who goes back.
        model: The model's name.
        environment: The environment's slug.
        reason: Why.
        to: The number of the release to go back to; the last good one by default.

    Raises:
        Denied: The actor may not.
        Missing: There is no such model or environment.
        Conflict: Nothing is live there, or there is nothing to go back to.
        Invalid: No reason is given.
    """
    found = registry.model(actor, model)
    where = environments.by_slug(environment)
    access.require(actor, "releases.roll_back", team=found.team.slug, environment=where.slug)
    _check_reason(reason, "Say what is wrong with what is live.")
    target = _target(selectors.live(found.pk, where.pk), model, environment, to)
    made = _create(
        actor, target.version, where, returns_to=target, summary=reason.strip()[:LONGEST_TEXT],
        variant=target.variant, variant_kind=target.variant_kind, runtime=target.runtime,
        replicas=target.replicas, configuration=target.configuration, strategy=target.strategy,
    )  # fmt: skip
    _tell(actor, "roll_back", made, after={"returns_to": f"R-{target.number}"}, reason=reason)
    _changed(made)
    return made


def _decide(actor: Actor, number: int, kind: Kind, digest: str, reason: str) -> Release:
    """Decide, with the release locked: a worker in the middle of a pass writes nothing."""
    with transaction.atomic():
        seen = _allowed_to_decide(actor, number)
        now = SystemClock().now()
        with commanding(Release, seen.pk, now=now) as row:
            if row.request is None or row.state not in (
                ReleaseState.AWAITING_APPROVAL,
                ReleaseState.AUTHORIZED,
            ):
                raise _waits_for_nobody(row)
            _refuse_stale(standing.Standing(row, now), digest)
            approvals.decide(
                actor=actor, request=row.request.public_id, kind=kind, digest=digest,
                reason=reason,
            )  # fmt: skip
            telling.decided(row, kind, actor.name, reason)
        _changed(row)
    return selectors.release(actor, number)


def _allowed_to_decide(actor: Actor, number: int) -> Release:
    """Return the release, for somebody who may decide, or stands in for somebody who may."""
    row = selectors.release(actor, number)
    now = SystemClock().now()
    if actor.person_id is None or not approved.stood_in_for(actor.person_id, now=now):
        team, slug = row.version.model.team.slug, row.environment.slug
        access.require(actor, "approvals.decide", team=team, environment=slug)
    return row


def _refuse_stale(at: standing.Standing, digest: str) -> None:
    """Refuse a decision about what would no longer be shipped, whether or not a pass has seen it.

    The pass that voids the request comes a moment later.
    """
    now = at.sealed.digest if at.sealed else ""
    if digest != now:
        raise Conflict(
            f"R-{at.row.number} has changed: what you saw was {digest[:19] or 'nothing'}, and "
            f"what would be shipped now is {now[:19]}.",
            remedy="Look at what changed, and decide again.",
            field="digest",
            code="approvals.changed",
        )


def _waits_for_nobody(row: Release) -> Conflict:
    return Conflict(
        f"R-{row.number} is {row.state.replace('_', ' ')}: it waits for nobody's decision.",
        remedy="Its page says what is missing, and who can do it.",
        code="releases.not_waiting",
    )


def _wanted(
    version: ModelVersion,
    where: Environment,
    variant: str,
    runtime: str,
    replicas: int | None,
    configuration: Mapping[str, Any] | None,
    strategy: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the columns of what would be served, once they fit."""
    count = where.default_replicas if replicas is None else replicas
    _check_replicas(count, where)
    if variant and builds.servable(version.pk):
        builds.variant(version.pk, variant)
    if runtime:
        runtimes.configure(runtimes.runtime(runtime), configuration or {})
    return {
        "variant_kind": variant,
        "runtime": runtime,
        "replicas": count,
        "configuration": dict(configuration or {}),
        "strategy": strategies.parse(strategy).as_document(),
    }


def _check_replicas(count: int, where: Environment) -> None:
    if not 1 <= count <= where.max_replicas:
        raise Invalid(
            f"{count} replicas are not allowed in {where.slug}.",
            remedy=f"Ask for 1 to {where.max_replicas}, or have an admin raise the limit.",
            field="replicas",
            code="endpoint.replicas",
        )


def _check_policy(where: Environment, risk_tier: str, strategy: Mapping[str, Any]) -> None:
    rules = policies.parse(gates.policy_in_force(where, risk_tier).document)
    if strategy["kind"] not in rules.strategies:
        raise Invalid(
            f"The policy of {where.slug} does not allow the strategy {strategy['kind']}.",
            remedy=f"Choose one of: {', '.join(rules.strategies)}.",
            field="strategy.kind",
            code="releases.strategy_not_allowed",
        )


def _refuse_unfit(version: ModelVersion) -> None:
    if version.state in REFUSED:
        raise Conflict(
            f"Version {version.number} is {version.state}.",
            remedy="Propose another version.",
            field="version",
            code="releases.version_not_releasable",
        )


def _open_like(
    version: ModelVersion, where: Environment, wanted: Mapping[str, Any]
) -> Release | None:
    """Return an open release that asks for just this, if there is one."""
    rows = Release.objects.select_related(*selectors.WHOLE).filter(
        version=version, environment=where, state__in=selectors.OPEN, returns_to=None,
        replicas=wanted["replicas"], configuration=wanted["configuration"],
        strategy=wanted["strategy"],
    )  # fmt: skip
    for row in rows.order_by("-number"):
        if wanted["variant_kind"] in ("", row.variant_kind) and wanted["runtime"] in (
            "",
            row.runtime,
        ):
            return row
    return None


def _create(actor: Actor, version: ModelVersion, where: Environment, **columns: Any) -> Release:
    now = SystemClock().now()
    return Release.objects.create(
        number=_next_number(), version=version, environment=where, state_since=now,
        proposer_id=actor.person_id, proposed_by=actor.name, expires_at=now + LIFE,
        next_reconcile_at=now, **columns,
    )  # fmt: skip


def _next_number() -> int:
    """Return the next number, without gaps: one proposal at a time gets one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBERING])
    newest = Release.objects.aggregate(newest=Max("number"))["newest"]
    return (newest or 0) + 1


def _target(live: Release | None, model: str, environment: str, to: int | None) -> Release:
    if live is None:
        raise Conflict(
            f"No release of {model} is live in {environment}.",
            remedy="There is nothing to go back from.",
            code="releases.nothing_live",
        )
    back = selectors.ways_back(live, limit=50)
    chosen = next((row for row in back if to in (None, row.number)), None)
    if chosen is None:
        known = ", ".join(f"R-{row.number}" for row in back) or "none"
        raise Conflict(
            f"{f'R-{to}' if to else 'No release'} was not live and approved in {environment} "
            f"before R-{live.number}.",
            remedy=f"One may go back to: {known}.",
            field="to",
            code="releases.no_way_back",
        )
    return chosen


def _revise(actor: Actor, row: Release, seen: Release, changes: Mapping[str, Any]) -> None:
    """Write the changes to the locked row, once what would be served fits as a whole."""
    merged = _said(row) | {k: v for k, v in changes.items() if k != "summary"}
    wanted = _wanted(
        seen.version, seen.environment, merged["variant"], merged["runtime"], merged["replicas"],
        merged["configuration"], merged["strategy"],
    )  # fmt: skip
    other = wanted["variant_kind"] != row.variant_kind
    for name, value in wanted.items():
        setattr(row, name, value)
    if "summary" in changes:
        row.summary = str(changes["summary"])[:LONGEST_TEXT]
    if other:
        row.variant = _variant(seen.version, row.variant_kind)
        if "runtime" not in changes:
            row.runtime = next(iter(row.variant.runtimes), "") if row.variant else ""
    if row.checklist is not None and row.variant is not None:
        checklists.reconfigure(
            actor=actor, checklist=row.checklist, variant=row.variant,
            configuration=standing.configuration(row),
        )  # fmt: skip


def _variant(version: ModelVersion, kind: str) -> Variant | None:
    return builds.variant(version.pk, kind) if kind else None


def _said(row: Release) -> dict[str, Any]:
    return {
        "variant": row.variant_kind,
        "runtime": row.runtime,
        "replicas": row.replicas,
        "configuration": row.configuration,
        "strategy": row.strategy,
    }


def _taking_part(row: Release) -> set[int]:
    said = row.comments.exclude(person=None).values_list("person_id", flat=True)
    decided = row.request.decisions.values_list("person_id", flat=True) if row.request else []
    return {
        *(key for key in said if key),
        *decided,
        *([row.proposer_id] if row.proposer_id else []),
    }


def _allowed(actor: Actor, verb: str, number: int) -> Release:
    row = selectors.release(actor, number)
    team, slug = row.version.model.team.slug, row.environment.slug
    access.require(actor, verb, team=team, environment=slug)
    return row


def _refuse_moving(row: Release) -> None:
    if row.state not in WAITING:
        raise Conflict(
            f"R-{row.number} is {row.state.replace('_', ' ')}.",
            remedy="What has moved traffic or has ended stays as it is; propose another release.",
            code="releases.too_late",
        )


def _check_reason(reason: str, remedy: str, *, field: str = "reason") -> None:
    if not reason.strip():
        raise Invalid(
            f"The {field} is missing.", remedy=remedy, field=field, code="releases.reason_missing"
        )


def _move(row: Release, move: ReleaseMove, now: datetime) -> None:
    row.state = RELEASE.after(ReleaseState(row.state), move)
    row.state_since = now
    if row.state in RELEASE.terminal():
        row.ended_at = now


def _tell(actor: Actor, verb: str, row: Release, **what: Any) -> None:
    audit.record(
        actor=actor,
        verb=f"releases.{verb}",
        target=f"release/{row.public_id}",
        subject=telling.subject(row),
        **what,
    )


def _changed(row: Release) -> None:
    for topic in (f"release/{row.public_id}", f"version/{row.version.public_id}", "inbox", "home"):
        announce(topic)
    nudge(KIND, row.pk)
