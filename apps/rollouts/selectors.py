"""Reading rollouts. Other apps read their rows through these functions only."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import F, QuerySet

from apps.accounts.domain import access
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.models import Revision
from apps.environments.models import Environment
from apps.registry import selectors as registry
from apps.rollouts import planning
from apps.rollouts.domain import document
from apps.rollouts.domain.states import ROLLOUT, RolloutMove, RolloutState
from apps.rollouts.domain.strategy import Strategy
from apps.rollouts.models import Rollout, RolloutEvent, StrategyTemplate
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid, Missing

LATELY = 10  # ways back that are looked through for one that took requests
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


def all_templates(actor: Actor) -> list[StrategyTemplate]:
    """Return the templates of every environment, of each the default one first."""
    access.require(actor, "rollouts.read")
    rows = StrategyTemplate.objects.select_related("environment")
    return list(rows.order_by("environment", "-is_default", "title", "id"))


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


def _visible(actor: Actor) -> QuerySet[Rollout]:
    mine = registry.visible_models(actor).values("id")
    return Rollout.objects.filter(endpoint__model__in=mine).select_related(*WHOLE)


def listed(
    actor: Actor, *, model: str = "", environment: str = "", state: str = "", active: bool = False
) -> QuerySet[Rollout]:
    """Return the rollouts that the actor may see and asked for, newest first.

    Args:
        actor: Who asks.
        model: A model's name; "" for any.
        environment: An environment's slug; "" for any.
        state: A `RolloutState`; "" for any.
        active: Whether only those are meant that have not ended.
    """
    rows = running(actor) if active else rollouts(actor)
    asked = {
        "endpoint__model__name": model,
        "endpoint__environment__slug": environment,
        "state": state,
    }
    return rows.filter(**{column: value for column, value in asked.items() if value})


def log(row: Rollout) -> QuerySet[RolloutEvent]:
    """Return a rollout's log, newest first, to be read page by page."""
    return RolloutEvent.objects.filter(rollout=row).order_by("-id")


def strategy(told: Mapping[str, Any] | None, environment: Environment | None) -> Strategy:
    """Return the strategy that somebody asked for in an environment.

    Args:
        told: A document, or a template by its name: `{"template": "careful-canary"}`; nothing
            for the environment's default, and all at once where it has none.
        environment: Where; without one, no template can be named.

    Raises:
        Invalid: The document makes no sense, or a template is named of no environment.
        Missing: The environment has no such template.
    """
    if told and set(told) == {"template"}:
        return document.parse(_named(str(told["template"]), environment).document)
    if told or environment is None:
        return document.parse(told)
    usual = default_template(environment)
    return document.parse(usual.document if usual else None)


def _named(name: str, environment: Environment | None) -> StrategyTemplate:
    if environment is None:
        raise Invalid(
            f"The template {name!r} is one of an environment, and none is named.",
            remedy="Name the environment as well.",
            field="environment",
            code="rollout.template_of_no_environment",
        )
    return template(environment, name)


def milestones(row: Rollout, kinds: Iterable[str], *, most: int) -> list[RolloutEvent]:
    """Return the newest of a rollout's events of some kinds, oldest first."""
    rows = RolloutEvent.objects.filter(rollout=row, kind__in=list(kinds)).order_by("-id")
    return list(rows[:most])[::-1]


def count_events(row: Rollout) -> int:
    """Return how long a rollout's log is."""
    return RolloutEvent.objects.filter(rollout=row).count()


def last_way_back(row: Rollout) -> Rollout | None:
    """Return the newest other rollout of the endpoint that took requests back from somebody."""
    rows = Rollout.objects.filter(
        endpoint=row.endpoint_id, state=RolloutState.ROLLED_BACK, settled_at__isnull=False
    ).exclude(decided_at=None)
    lately = rows.exclude(pk=row.pk).exclude(stable=None).order_by("-id")[:LATELY]
    return next((other for other in lately if planning.had_requests(other)), None)


def in_order(
    actor: Actor, *, environment: str = "", model: str = "", state: str = ""
) -> QuerySet[Rollout]:
    """Return rollouts for a list: those that run first, then the others, newest first.

    Args:
        actor: Who looks.
        environment: An environment's slug.
        model: Part of a model's name.
        state: A state; "running" and "ended" for several.
    """
    rows = rollouts(actor)
    if environment:
        rows = rows.filter(endpoint__environment__slug=environment)
    if model:
        rows = rows.filter(endpoint__name__icontains=model)
    if state == "running":
        rows = rows.exclude(state__in=ENDED)
    elif state == "ended":
        rows = rows.filter(state__in=ENDED)
    elif state:
        rows = rows.filter(state=state)
    return rows.order_by(F("ended_at").desc(nulls_first=True), "-id")
