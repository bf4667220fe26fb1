"""Reading objectives."""

from collections.abc import Sequence

from apps.accounts.domain import access
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.registry.models import RegisteredModel
from apps.slos.domain.objective import Objective
from apps.slos.models import ServiceObjective
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing


def objective(model_id: int, environment_id: int) -> ServiceObjective | None:
    """Return what was declared for a model in an environment; None when nothing was."""
    return ServiceObjective.objects.filter(
        model_id=model_id, environment_id=environment_id
    ).first()


def declared(actor: Actor, model: RegisteredModel, environment: Environment) -> ServiceObjective:
    """Return the objective, for showing.

    Raises:
        Missing: None was declared; the code is `slos.not_declared`.
    """
    access.require(actor, "slos.read", team=model.team.slug)
    found = objective(model.pk, environment.pk)
    if found is None:
        raise Missing(
            f"No objective of {model.name} in {environment.slug} was declared.",
            remedy=f"Declare it: PUT /models/{model.name}/objectives/{environment.slug}.",
            code="slos.not_declared",
        )
    return found


def objectives_of(
    actor: Actor, model: RegisteredModel
) -> Sequence[tuple[Environment, ServiceObjective | None]]:
    """Return every environment in the order of promotion, with what was declared for it."""
    access.require(actor, "slos.read", team=model.team.slug)
    rows = {row.environment_id: row for row in ServiceObjective.objects.filter(model=model)}
    return [(place, rows.get(place.pk)) for place in environments.in_order()]


def value_of(row: ServiceObjective) -> Objective:
    """Return a row as the value that `domain.objective` reckons with."""
    return Objective(
        availability=row.availability,
        latency_ms=row.latency_ms,
        latency_share=row.latency_share,
        window_days=row.window_days,
        expected_peak_rps=row.expected_peak_rps,
    )
