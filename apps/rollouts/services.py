"""Starting a rollout: only with an authorization in hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from apps.audit import services as audit
from apps.builds.models import Variant
from apps.endpoints import revisions
from apps.environments.models import Environment
from apps.registry.models import ModelVersion
from apps.rollouts import selectors
from apps.rollouts.domain import strategy
from apps.rollouts.domain.authorization import Authorization
from apps.rollouts.models import Rollout
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict

KIND = "rollout"


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
    """

    version: ModelVersion
    variant: Variant
    environment: Environment
    runtime: str
    replicas: int
    configuration: Mapping[str, Any]
    strategy: Mapping[str, Any]


@transaction.atomic
def start(*, authorization: Authorization, plan: Plan, actor: Actor, reason: str) -> Rollout:
    """Begin a rollout. Starting it again with the same authorization returns the first.

    Raises:
        Conflict: The bundle is not the one that was authorized, or another rollout moves the
            endpoint's traffic already.
    """
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
    steps = strategy.parse(plan.strategy)
    stable = selectors.live_revision(plan.version.model_id, plan.environment.pk)
    _refuse_second(plan)
    served = revisions.add(
        actor=actor, verb="endpoints.serve", model=plan.version.model, version=plan.version,
        environment=plan.environment, variant=plan.variant.kind, runtime=plan.runtime,
        replicas=plan.replicas, configuration=plan.configuration, reason=reason,
        bundle_digest=authorization.bundle_digest,
    )  # fmt: skip
    now = SystemClock().now()
    rollout = Rollout.objects.create(
        endpoint=served.endpoint, candidate=served.revision, stable=stable,
        release=authorization.release, authorization=authorization.as_dict(),
        strategy=steps.as_document(), state_since=now, started_by=actor.name,
        next_reconcile_at=now,
    )  # fmt: skip
    audit.record(
        actor=actor,
        verb="rollouts.start",
        target=f"rollout/{rollout.public_id}",
        subject=f"{plan.version.model.name} v{plan.version.number} in {plan.environment.slug}",
        after={**authorization.as_dict(), "strategy": rollout.strategy},
        reason=reason,
    )
    announce(f"rollout/{rollout.public_id}")
    nudge(KIND, rollout.pk)
    return rollout


def _refuse_second(plan: Plan) -> None:
    other = selectors.active(plan.version.model_id, plan.environment.pk)
    if other is not None:
        raise Conflict(
            f"Another rollout moves the traffic of {plan.version.model.name} in "
            f"{plan.environment.slug}.",
            remedy="It has to end first.",
            code="rollout.another_is_active",
        )
