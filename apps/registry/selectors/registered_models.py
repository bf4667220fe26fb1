"""Registered models: one by its name, and lists of them."""

from django.contrib.postgres.search import TrigramWordSimilarity
from django.db.models import Prefetch, Q, QuerySet

from apps.accounts.domain import access
from apps.registry.models import Alias, RegisteredModel
from apps.registry.selectors.visibility import seen, visible_models
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid

MODEL_SORTS = {
    "-changed": ("-changed_at", "-id"),
    "changed": ("changed_at", "id"),
    "-created": ("-id",),
    "created": ("id",),
    "name": ("name", "id"),
    "-name": ("-name", "-id"),
}


def models(
    actor: Actor,
    *,
    q: str = "",
    team: str = "",
    risk_tier: str = "",
    archived: bool = False,
    sort: str = "-changed",
) -> QuerySet[RegisteredModel]:
    """Return models for a list, with team and aliases, in a total order.

    Args:
        actor: Who looks.
        q: Part of a name or description; a name that is nearly so is found too.
        team: A team's slug.
        risk_tier: A `RiskTier`.
        archived: Whether to list the archived ones instead.
        sort: A key of `MODEL_SORTS`.

    Raises:
        Invalid: The sort is unknown.
    """
    if sort not in MODEL_SORTS:
        raise _unknown_sort(sort, MODEL_SORTS)
    rows = visible_models(actor).filter(archived_at__isnull=not archived)
    if team:
        rows = rows.filter(team__slug=team)
    if risk_tier:
        rows = rows.filter(risk_tier=risk_tier)
    if q:
        rows = rows.filter(_named_like(q))
    return rows.prefetch_related(_aliases()).order_by(*MODEL_SORTS[sort])


def search_models(actor: Actor, q: str, *, limit: int = 8) -> list[RegisteredModel]:
    """Return the models whose names are most like `q`, the best first."""
    return list(
        visible_models(actor)
        .filter(_named_like(q))
        .annotate(likeness=TrigramWordSimilarity(q, "name"))
        .order_by("-likeness", "name", "id")[:limit]
    )


def model(actor: Actor, name: str) -> RegisteredModel:
    """Return one model with its team.

    Raises:
        Missing: There is no such model, or the actor may not see it.
    """
    access.require(actor, "registry.read")
    row = RegisteredModel.objects.select_related("team").filter(name=name).first()
    return seen(actor, row, name)


def model_with_aliases(actor: Actor, name: str) -> RegisteredModel:
    """Return one model with its team and its aliases (each with its version).

    Raises:
        Missing: There is no such model, or the actor may not see it.
    """
    access.require(actor, "registry.read")
    rows = RegisteredModel.objects.select_related("team").prefetch_related(_aliases())
    return seen(actor, rows.filter(name=name).first(), name)


def model_for_update(actor: Actor, name: str) -> RegisteredModel:
    """Return one model, locked until the transaction ends.

    Raises:
        Missing: There is no such model, or the actor may not see it.
    """
    rows = RegisteredModel.objects.select_for_update(no_key=True, of=("self",))
    return seen(actor, rows.select_related("team").filter(name=name).first(), name)


def model_to_extend(name: str) -> RegisteredModel | None:
    """Return one model with its team, locked; None when it takes no more versions.

    The caller checks each actor against the team: there may be several.
    """
    rows = RegisteredModel.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("team").filter(name=name, archived_at=None).first()


def aliases(model_row: RegisteredModel) -> list[Alias]:
    """Return the aliases of a model with their versions, by name."""
    return list(
        Alias.objects.filter(model=model_row).select_related("version").order_by("name", "id")
    )


def _aliases() -> "Prefetch[str]":
    return Prefetch(
        "aliases", queryset=Alias.objects.select_related("version").order_by("name", "id")
    )


def _named_like(q: str) -> Q:
    found = Q(name__icontains=q) | Q(description__icontains=q)
    return found | Q(name__trigram_word_similar=q) if len(q) > 2 else found


def _unknown_sort(sort: str, known: dict[str, tuple[str, ...]]) -> Invalid:
    return Invalid(
        f"{sort[:40]!r} is not an order.",
        remedy=f"Use one of {', '.join(known)}.",
        field="sort",
        code="registry.unknown_sort",
    )
