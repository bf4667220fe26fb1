"""Making the one value that lets a rollout begin.

This is the only module that may import `Authorization`, besides the rollout that takes it.
"""

from apps.releases.domain import journey
from apps.releases.domain.journey import Ground
from apps.releases.standing import Standing
from apps.rollouts import services as rollouts
from apps.rollouts.domain import authorization as a
from apps.rollouts.models import Rollout
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict

GROUNDS = {
    Ground.SEATS: a.Ground.APPROVED,
    Ground.NOBODY: a.Ground.NO_APPROVAL_NEEDED,
    Ground.EMERGENCY: a.Ground.EMERGENCY,
    Ground.ROLL_BACK: a.Ground.ROLL_BACK,
}


def authorize(standing: Standing) -> a.Authorization:
    """Return the permission to run what `standing` is about.

    Call it in the transaction that starts the rollout, with the release's row locked.

    Raises:
        Conflict: Something that an authorization needs is not so at this moment.
    """
    row = standing.row
    if not journey.may_start(standing.facts):
        raise Conflict(
            f"R-{row.number} is not authorized to move traffic.",
            remedy="Its page says what is missing, and who can do it.",
            code="releases.not_authorized",
        )
    granted = standing.ground is Ground.SEATS and row.request is not None
    return a.Authorization(
        release=row.public_id,
        digest=standing.seal.digest,
        bundle_digest=standing.variant.bundle_digest,
        ground=GROUNDS[standing.ground],
        approval=row.request.public_id if granted and row.request else "",
    )


def start_rollout(standing: Standing, *, actor: Actor) -> Rollout:
    """Begin the rollout of an authorized release.

    Raises:
        Conflict: It is not authorized at this moment, or the endpoint is busy.
    """
    row = standing.row
    plan = rollouts.Plan(
        version=row.version, variant=standing.variant, environment=row.environment,
        runtime=row.runtime, replicas=row.replicas, configuration=row.configuration,
        strategy=row.strategy, release_number=row.number,
    )  # fmt: skip
    return rollouts.start(
        authorization=authorize(standing), plan=plan, actor=actor, reason=f"R-{row.number}"
    )
