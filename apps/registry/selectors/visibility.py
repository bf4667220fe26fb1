"""Which models somebody may see; all else is missing to them."""

from django.db.models import QuerySet

from apps.accounts.domain import access
from apps.registry.models import RegisteredModel
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import Missing


def visible_models(actor: Actor) -> QuerySet[RegisteredModel]:
    """Return the models that the actor may see, archived ones included, in no order."""
    access.require(actor, "registry.read")
    rows = RegisteredModel.objects.select_related("team")
    teams = readable_teams(actor)
    return rows if teams is None else rows.filter(team__slug__in=teams)


def readable_teams(actor: Actor) -> frozenset[str] | None:
    """Return the teams whose models the actor may read; None for all."""
    if actor.kind is ActorKind.WORKER:
        return None
    granted = [g for g in actor.grants if g.role in access.TABLE["registry.read"]]
    if any(g.team is None for g in granted):
        return None
    return frozenset(g.team for g in granted if g.team is not None)


def seen(actor: Actor, row: RegisteredModel | None, name: str) -> RegisteredModel:
    """Return `row`.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    if row is not None and access.allows(actor, "registry.read", team=row.team.slug):
        return row
    access.require(actor, "registry.read")
    raise Missing(
        f"There is no model {name[:140]!r}.",
        remedy="Check its name: capitals count.",
        field="model",
        code="registry.no_such_model",
    )
