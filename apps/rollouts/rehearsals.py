"""Rehearsing a way back before it is needed: a person's verb, where nothing is protected.

A version is brought up beside what is live, as its release would, and gets some requests. Then
requests at its preview address are made to fail, until the judge notices and everything goes
back. What was seen becomes evidence: how long the way back took, and whether the alarm arrived.
"""

from django.db import transaction

from apps.accounts.domain import access
from apps.builds.domain.variants import VariantState
from apps.builds.models import Variant
from apps.endpoints.domain import choice
from apps.endpoints.models import Revision
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.registry import selectors as registry
from apps.registry.models import ModelVersion, RegisteredModel
from apps.rollouts import selectors, services
from apps.rollouts.domain import rehearsing
from apps.rollouts.domain.authorization import Authorization, Ground
from apps.rollouts.models import Rollout
from controlplane.db.base import new_public_id
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid


@transaction.atomic
def rehearse(
    *, actor: Actor, model: str, version: int, environment: str, reason: str, variant: str = ""
) -> Rollout:
    """Begin a rehearsal of one version beside what is live.

    Args:
        actor: Who asks.
        model: The model's name.
        version: The version's number; it may be the one that is live.
        environment: The slug of an environment that is not protected.
        reason: Why.
        variant: A `VariantKind`; "" for what a release would take.

    Raises:
        Denied: The actor may not.
        Missing: There is no such model, version, variant or environment.
        Conflict: The environment is protected or closed, nothing is live there to go back to, or
            something else moves traffic there.
        Invalid: No reason is given.
    """
    row, place = registry.model(actor, model), environments.by_slug(environment)
    access.require(actor, "rollouts.rehearse", team=row.team.slug, environment=place.slug)
    services.check_reason("rehearse", reason)
    wanted = registry.version_of(row, version)
    stable = _to_go_back_to(row, place)
    _refuse_closed(place)
    chosen = _variant(wanted, variant, stable)
    same = stable.variant_id == chosen.pk
    plan = services.Plan(
        version=wanted, variant=chosen, environment=place, strategy=rehearsing.STRATEGY,
        runtime=stable.runtime if same else "", replicas=1,
        configuration=stable.configuration if same else {},
    )  # fmt: skip
    allowed = Authorization(
        release=new_public_id(), digest="", bundle_digest=chosen.bundle_digest,
        ground=Ground.REHEARSAL,
    )  # fmt: skip
    return services.start(authorization=allowed, plan=plan, actor=actor, reason=reason)


def _to_go_back_to(model: RegisteredModel, place: Environment) -> Revision:
    stable = selectors.live_revision(model.pk, place.pk)
    if stable is None:
        raise Conflict(
            f"Nothing of {model.name} is live in {place.slug}, so there is nothing to go back to.",
            remedy="Serve a version there first.",
            field="environment",
            code="rollout.nothing_to_go_back_to",
        )
    return stable


def _refuse_closed(place: Environment) -> None:
    opening = environments.opening(place, SystemClock().now())
    if not opening.open:
        raise Conflict(
            f"{place.slug} is closed: {opening.reason or 'a freeze is in force'}.",
            remedy="Rehearse when it is open again.",
            field="environment",
            code="rollout.environment_closed",
        )


def _variant(version: ModelVersion, kind: str, stable: Revision) -> Variant:
    """Return the named variant; the one that is live, of the live version; or the best."""
    if not kind and stable.version_id == version.pk:
        return stable.variant
    rows = {row.pk: row for row in version.variants.order_by("id")}
    if not rows:
        raise Invalid(
            f"Version {version.number} has not been built.",
            remedy="Build it first.",
            field="version",
            code="endpoint.not_built",
        )
    chosen = choice.choose(
        [_candidate(row) for row in rows.values()], kind=kind, lossy_allowed=False
    )
    return rows[chosen.id]


def _candidate(row: Variant) -> choice.Candidate:
    return choice.Candidate(
        id=row.pk,
        kind=row.kind,
        state=row.state if row.bundle_digest else VariantState.FAILED,
        verdict=row.verdict,
        reason=row.reason,
        p50_ms=row.p50_ms,
        runtimes=tuple(row.runtimes),
    )
