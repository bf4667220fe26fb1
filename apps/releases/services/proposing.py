"""Proposing a release, changing it, taking it back, and taking it to the next environment."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from apps.accounts.domain import access
from apps.approvals import services as approvals
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
from apps.releases import selectors, standing
from apps.releases.domain.states import ReleaseMove, ReleaseState
from apps.releases.models import Release
from apps.releases.services import common
from apps.rollouts import selectors as rollouts
from apps.rollouts.domain import document
from apps.rollouts.domain.states import RolloutState
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

REVISABLE = ("variant", "runtime", "replicas", "configuration", "strategy", "summary")
REFUSED = (VersionState.ARCHIVED, VersionState.REJECTED)
WENT_BACK = (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK, RolloutState.CANCELLED)


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
    made = common.create(
        actor, number, where, summary=summary[:common.LONGEST_TEXT], pipeline_url=pipeline_url,
        promoted_from=promoted_from, **wanted,
    )  # fmt: skip
    common.tell(actor, "propose", made, after=wanted, reason=summary)
    common.changed(made)
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
    seen = common.allowed(actor, "releases.revise", number)
    unknown = sorted(set(changes) - set(REVISABLE))
    if unknown:
        raise Invalid(f"{unknown[0]} of a release cannot be changed.", field=unknown[0])
    now = SystemClock().now()
    with commanding(Release, seen.pk, now=now) as row:
        common.refuse_moving(row)
        before = _said(row)
        _revise(actor, row, seen, changes)
        row.expires_at = now + common.LIFE
        after = _said(row)
        if before != after:
            common.tell(actor, "revise", row, before=before, after=after, reason=reason)
    common.changed(row)
    return selectors.release(actor, number)


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
def withdraw(*, actor: Actor, number: int, reason: str = "") -> Release:
    """Take back a release that has moved no traffic.

    Raises:
        Denied: The actor neither proposed it nor may withdraw others'.
        Missing: There is no such release.
        Conflict: It has begun to move traffic, or has ended.
    """
    seen = common.allowed(actor, "releases.withdraw", number)
    if seen.state == ReleaseState.WITHDRAWN:
        return seen
    now = SystemClock().now()
    with commanding(Release, seen.pk, now=now) as row:
        common.refuse_moving(row)
        if row.request is not None:
            approvals.withdraw(actor=actor, row=row.request, reason=reason or "Withdrawn.")
        if row.checklist is not None:
            checklists.close_checklist(actor=actor, checklist=row.checklist)
        row.end_reason = reason
        common.move(row, ReleaseMove.WITHDRAW, now)
        common.tell(actor, "withdraw", row, before={"state": seen.state}, reason=reason)
    common.changed(row)
    return selectors.release(actor, number)


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
        "strategy": _strategy(where, strategy),
    }


def _strategy(where: Environment, told: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the strategy's whole document, with everything written out that it leaves open.

    Raises:
        Invalid: It makes no sense.
        Missing: The environment has no such template.
    """
    return document.as_document(rollouts.strategy(told, where))


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
    """Return an open release that asks for just this, if there is one.

    One whose rollout has gone back, or is going, is as good as ended: who asks again means anew.
    """
    rows = Release.objects.select_related(*selectors.WHOLE).filter(
        version=version, environment=where, state__in=selectors.OPEN, returns_to=None,
        replicas=wanted["replicas"], configuration=wanted["configuration"],
        strategy=wanted["strategy"],
    ).exclude(rollout__state__in=WENT_BACK)  # fmt: skip
    for row in rows.order_by("-number"):
        if wanted["variant_kind"] in ("", row.variant_kind) and wanted["runtime"] in (
            "",
            row.runtime,
        ):
            return row
    return None


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
        row.summary = str(changes["summary"])[: common.LONGEST_TEXT]
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
