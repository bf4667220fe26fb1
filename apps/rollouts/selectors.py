"""Reading rollouts. Other apps read their rows through these functions only."""

from collections.abc import Iterable

from django.db.models import QuerySet

from apps.accounts.domain import access
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.models import Revision
from apps.environments.models import Environment
from apps.registry import selectors as registry
from apps.rollouts.domain.states import ROLLOUT, RolloutMove, RolloutState
from apps.rollouts.models import Rollout, RolloutEvent, StrategyTemplate
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing

ENDED = sorted(str(state) for state in ROLLOUT.terminal())
WHOLE = (
    "endpoint__environment",
    "endpoint__model__team",
    "candidate__version",
    "candidate__variant",
    "stable__version",
    "stable__variant",
)


def of_release(release: str) -> Rollout | None:
    """Return the rollout that was started for a release, by the release's public id."""
    return Rollout.objects.filter(release=release).first()


def active(model_id: int, environment_id: int) -> Rollout | None:
    """Return the rollout that moves traffic at an endpoint now, if one does."""
    at = Rollout.objects.filter(endpoint__model=model_id, endpoint__environment=environment_id)
    return at.exclude(state__in=ENDED).first()


def can_end(row: Rollout) -> bool:
    """Return whether a rollout can still be cancelled or sent back."""
    possible = ROLLOUT.moves_from(RolloutState(row.state))
    return bool({RolloutMove.ABORT, RolloutMove.CANCEL} & set(possible))


def rollouts(actor: Actor) -> QuerySet[Rollout]:
    """Return the rollouts that the actor may see, newest first."""
    access.require(actor, "rollouts.read")
    return _visible(actor).order_by("-id")


def running(actor: Actor) -> QuerySet[Rollout]:
    """Return the rollouts that have not ended, newest first."""
    return rollouts(actor).exclude(state__in=ENDED)


def rollout(actor: Actor, public_id: str) -> Rollout:
    """Return one rollout, with everything that a page of it shows.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    access.require(actor, "rollouts.read")
    found = _visible(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing(
            "There is no such rollout.",
            remedy="The page of rollouts lists them all.",
            code="rollout.missing",
        )
    return found


def events(row: Rollout, *, newest: int | None = None) -> list[RolloutEvent]:
    """Return a rollout's log, newest first."""
    rows = RolloutEvent.objects.filter(rollout=row).order_by("-id")
    return list(rows[:newest] if newest else rows)


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


def templates_of(environment: Environment) -> QuerySet[StrategyTemplate]:
    """Return an environment's templates, the default one first."""
    rows = StrategyTemplate.objects.filter(environment=environment)
    return rows.order_by("-is_default", "title", "id")


def template(environment: Environment, name: str) -> StrategyTemplate:
    """Return one template.

    Raises:
        Missing: The environment has none of that name.
    """
    found = StrategyTemplate.objects.filter(environment=environment, name=name).first()
    if found is None:
        known = ", ".join(templates_of(environment).values_list("name", flat=True)) or "none"
        raise Missing(
            f"{environment.slug} has no strategy template {name!r}.",
            remedy=f"It has: {known}.",
            code="rollout.template_missing",
        )
    return found


def default_template(environment: Environment) -> StrategyTemplate | None:
    """Return the template of releases that name no strategy, if the environment has one."""
    return StrategyTemplate.objects.filter(environment=environment, is_default=True).first()


def rolled_back_lately(bundles: Iterable[str], *, protected: bool) -> QuerySet[Rollout]:
    """Return rollouts that went back, newest first; for gates, without an actor.

    Args:
        bundles: The candidates' bundles; any for none.
        protected: Whether those of protected environments are meant, or all others.
    """
    rows = Rollout.objects.filter(
        state=RolloutState.ROLLED_BACK, endpoint__environment__protected=protected
    ).exclude(stable=None)
    wanted = list(bundles)
    rows = rows.filter(candidate__bundle_digest__in=wanted) if wanted else rows
    return rows.select_related("endpoint__environment", "candidate").order_by("-id")


def _visible(actor: Actor) -> QuerySet[Rollout]:
    mine = registry.visible_models(actor).values("id")
    return Rollout.objects.filter(endpoint__model__in=mine).select_related(*WHOLE)
