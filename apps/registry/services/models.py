"""Verbs on registered models."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from apps.accounts.domain import access
from apps.accounts.models import Team
from apps.audit import services as audit
from apps.registry import selectors
from apps.registry.domain import names
from apps.registry.domain.kinds import RiskTier
from apps.registry.models import RegisteredModel
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid

EDITABLE = ("risk_tier", "task", "description", "card", "tolerance", "min_agreement")


def create_model(
    *,
    actor: Actor,
    name: str,
    team: str,
    risk_tier: str = RiskTier.MEDIUM,
    task: str = "",
    description: str = "",
    card: str = "",
    tolerance: float = 1e-3,
    min_agreement: float = 0.99,
) -> RegisteredModel:
    """Create a registered model that `team` owns.

    Raises:
        Invalid: The name, tier, team or a bound is not allowed.
        Conflict: The name is taken, in any case; the code is `registry.name_taken`.
        Denied: The actor may not create models in that team.
    """
    names.model_name(name)
    fields: dict[str, Any] = {
        "risk_tier": risk_tier,
        "task": task,
        "description": description,
        "card": card,
        "tolerance": tolerance,
        "min_agreement": min_agreement,
    }
    _check(fields)
    access.require(actor, "registry.model.create", team=team)
    owner = _team(team)
    try:
        with transaction.atomic():
            model = RegisteredModel.objects.create(
                name=name, team=owner, created_by=actor.name, **fields
            )
            audit.record(
                actor=actor,
                verb="registry.model.create",
                target=f"model/{model.public_id}",
                subject=name,
                after={"name": name, "team": team, "risk_tier": str(risk_tier), "task": task},
            )
            announce("home")
    except IntegrityError as error:
        raise _taken(name) from error
    return model


def edit_model(*, actor: Actor, name: str, changes: Mapping[str, Any]) -> RegisteredModel:
    """Change what people wrote about a model; `team` moves it to another team.

    Args:
        actor: Who edits.
        name: Which model.
        changes: New values by field, of `EDITABLE` and "team".

    Raises:
        Missing: There is no such model, or the actor may not see it.
        Invalid: A field is unknown or its value is not allowed.
    """
    _check(changes)
    with transaction.atomic():
        model = selectors.model_for_update(actor, name)
        access.require(actor, "registry.model.edit", team=model.team.slug)
        before, after = _differences(model, changes)
        if "team" in changes and changes["team"] != model.team.slug:
            access.require(actor, "registry.model.create", team=changes["team"])
            before["team"], after["team"] = model.team.slug, changes["team"]
            model.team = _team(changes["team"])
        if after:
            model.save(update_fields=[*after, "changed_at"])
            _record(actor, "registry.model.edit", model, before=before, after=after)
    return model


def archive_model(*, actor: Actor, name: str, reason: str = "") -> RegisteredModel:
    """Take a model out of the lists; nothing can be registered in it until it is restored.

    Raises:
        Missing: There is no such model.
        Conflict: It is archived already.
    """
    return _set_archived(actor, name, archived=True, reason=reason)


def restore_model(*, actor: Actor, name: str, reason: str = "") -> RegisteredModel:
    """Bring an archived model back.

    Raises:
        Missing: There is no such model.
        Conflict: It is not archived.
    """
    return _set_archived(actor, name, archived=False, reason=reason)


def home_team(actor: Actor) -> str:
    """Return the slug of the team that a model belongs to when nobody said which.

    It is the oldest team in which the actor may create models.

    Raises:
        Denied: There is none.
    """
    allowed = (
        team.slug
        for team in Team.objects.order_by("id")
        if access.allows(actor, "registry.model.create", team=team.slug)
    )
    slug = next(allowed, None)
    if slug is None:
        raise Denied(
            f"{actor.name} may not create models in any team.",
            remedy="Ask an admin for the role contributor in a team.",
            code="access.denied",
        )
    return slug


def _set_archived(actor: Actor, name: str, *, archived: bool, reason: str) -> RegisteredModel:
    verb = "registry.model.archive"
    with transaction.atomic():
        model = selectors.model_for_update(actor, name)
        access.require(actor, verb, team=model.team.slug)
        if (model.archived_at is not None) is archived:
            raise Conflict(
                f"The model {name} is {'archived already' if archived else 'not archived'}.",
                code="registry.model_archived" if archived else "registry.model_not_archived",
            )
        model.archived_at = SystemClock().now() if archived else None
        model.save(update_fields=["archived_at", "changed_at"])
        _record(
            actor,
            verb if archived else "registry.model.restore",
            model,
            before={"archived": not archived},
            after={"archived": archived},
            reason=reason,
        )
    return model


def _differences(
    model: RegisteredModel, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for field in EDITABLE:
        if field in changes and changes[field] != getattr(model, field):
            before[field], after[field] = getattr(model, field), changes[field]
            setattr(model, field, changes[field])
    return before, after


def _check(fields: Mapping[str, Any]) -> None:
    unknown = sorted(set(fields) - {*EDITABLE, "team"})
    if unknown:
        raise Invalid(
            f"{unknown[0]} cannot be edited.", field=unknown[0], code="registry.unknown_field"
        )
    tier = fields.get("risk_tier", RiskTier.MEDIUM)
    if tier not in list(RiskTier):
        raise Invalid(
            f"{str(tier)[:40]!r} is not a risk tier.",
            remedy=f"Use one of {', '.join(RiskTier)}.",
            field="risk_tier",
            code="registry.unknown_risk_tier",
        )
    if len(fields.get("task", "")) > 80:
        raise Invalid("task has more than 80 characters.", field="task", code="registry.too_long")
    if not 0 <= fields.get("tolerance", 0.0) < float("inf"):
        raise Invalid(
            "tolerance must be a number of 0 or more.",
            field="tolerance",
            code="registry.bad_tolerance",
        )
    if not 0 <= fields.get("min_agreement", 0.0) <= 1:
        raise Invalid(
            "min_agreement is a share from 0 to 1.",
            field="min_agreement",
            code="registry.bad_tolerance",
        )


def _team(slug: str) -> Team:
    team = Team.objects.filter(slug=slug).first()
    if team is None:
        raise Invalid(
            f"There is no team {slug!r}.",
            remedy="Name an existing team by its slug.",
            field="team",
            code="registry.unknown_team",
        )
    return team


def _taken(name: str) -> Conflict:
    existing = RegisteredModel.objects.filter(name__iexact=name).values_list("name", flat=True)
    other = next(iter(existing), name)
    return Conflict(
        f"There is already a model called {other}.",
        remedy="Register a version in it, or choose another name; capitals make no difference.",
        field="name",
        code="registry.name_taken",
    )


def _record(
    actor: Actor,
    verb: str,
    model: RegisteredModel,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str = "",
) -> None:
    target = f"model/{model.public_id}"
    audit.record(
        actor=actor,
        verb=verb,
        target=target,
        subject=model.name,
        before=before,
        after=after,
        reason=reason,
    )
    announce(target)
