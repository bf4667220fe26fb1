"""Reading rollouts."""

from apps.endpoints.domain.states import RevisionState
from apps.endpoints.models import Revision
from apps.rollouts.domain.states import ROLLOUT
from apps.rollouts.models import Rollout

ENDED = sorted(str(state) for state in ROLLOUT.terminal())


def of_release(release: str) -> Rollout | None:
    """Return the rollout that was started for a release, by the release's public id."""
    return Rollout.objects.filter(release=release).first()


def active(model_id: int, environment_id: int) -> Rollout | None:
    """Return the rollout that moves traffic at an endpoint now, if one does."""
    at = Rollout.objects.filter(endpoint__model=model_id, endpoint__environment=environment_id)
    return at.exclude(state__in=ENDED).first()


def live_revision(model_id: int, environment_id: int) -> Revision | None:
    """Return the revision that answers at an endpoint now, if one does."""
    return (
        Revision.objects.select_related("version", "variant", "endpoint__model__team")
        .filter(
            endpoint__model=model_id,
            endpoint__environment=environment_id,
            state=RevisionState.LIVE,
        )
        .first()
    )
