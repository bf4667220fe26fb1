"""Declaring objectives."""

from dataclasses import asdict
from typing import Any

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments import selectors as environments
from apps.registry import selectors as registry
from apps.slos import selectors
from apps.slos.domain import objective as domain
from apps.slos.domain.objective import Objective
from apps.slos.models import ServiceObjective
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor


@transaction.atomic
def declare(
    *, actor: Actor, model: str, environment: str, objective: Objective, reason: str = ""
) -> ServiceObjective:
    """Say what callers of a model in an environment may expect; replaces what was said before.

    Declaring the same again changes nothing and records nothing.

    Raises:
        Missing: There is no such model or environment.
        Denied: The actor may not, for that team or environment.
        Invalid: A number makes no sense; the code is `slos.bad_objective`.
    """
    row = registry.model_for_update(actor, model)
    access.require(actor, "slos.objective.edit", team=row.team.slug, environment=environment)
    place = environments.by_slug(environment)
    domain.check(objective)
    existing = selectors.objective(row.pk, place.pk)
    before = _numbers(selectors.value_of(existing)) if existing is not None else {}
    after = _numbers(objective)
    if existing is not None and before == after:
        return existing
    declared, _ = ServiceObjective.objects.update_or_create(
        model=row, environment=place, defaults={**after, "declared_by": actor.name}
    )
    audit.record(
        actor=actor,
        verb="slos.objective.edit",
        target=f"model/{row.public_id}",
        subject=f"{row.name} in {place.slug}",
        before={name: value for name, value in before.items() if value != after[name]},
        after={name: value for name, value in after.items() if value != before.get(name)},
        reason=reason,
    )
    announce(f"model/{row.public_id}")
    return declared


def _numbers(objective: Objective) -> dict[str, Any]:
    return asdict(objective)
