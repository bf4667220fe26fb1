"""The page of what a model promises, environment by environment."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.domain import access
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.registry import selectors as registry
from apps.registry.models import RegisteredModel
from apps.slos import selectors, services
from apps.slos.domain.objective import Objective
from apps.slos.models import ServiceObjective
from apps.slos.web.forms import PERCENT, ObjectiveForm, percent, shown
from controlplane.http.forms import blame
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, Invalid


@dataclass(frozen=True)
class Promise:
    """One environment and what was declared for it.

    Attributes:
        row: What was declared; None when nothing was.
        objective: The same, to reckon with.
        budget: What may fail, in words.
        answered: The share of answered requests, as people write it.
        fast: The share of fast requests, as people write it.
        form: To declare it; None for readers who may not.
    """

    environment: Environment
    row: ServiceObjective | None
    objective: Objective | None
    budget: str
    answered: str
    fast: str
    form: ObjectiveForm | None


@signed_in
@require_GET
def objectives(request: HttpRequest, name: str) -> HttpResponse:
    """Show what a model promises."""
    return _page(request, registry.model(actor_of(request), name))


@signed_in
@require_POST
def declare(request: HttpRequest, name: str, environment: str) -> HttpResponse:
    """Declare what a model promises in one environment."""
    actor = actor_of(request)
    model = registry.model(actor, name)
    access.require(actor, "slos.objective.edit", team=model.team.slug, environment=environment)
    place = environments.by_slug(environment)
    form = ObjectiveForm(request.POST, prefix=environment)
    if not form.is_valid():
        return _page(request, model, place=environment, form=form)
    try:
        services.declare(
            actor=actor,
            model=name,
            environment=environment,
            objective=form.objective(),
            reason=form.cleaned_data["reason"],
        )
    except (Conflict, Invalid) as error:
        error.field = PERCENT.get(error.field, error.field)
        blame(form, error)
        return _page(request, model, place=environment, form=form)
    messages.success(request, f"The objective of {name} in {place.title} is declared.")
    return redirect("objectives", name=name)


def _page(
    request: HttpRequest,
    model: RegisteredModel,
    *,
    place: str = "",
    form: ObjectiveForm | None = None,
) -> HttpResponse:
    actor = actor_of(request)
    promises = [
        _promise(actor, model, where, row, form if where.slug == place else None)
        for where, row in reversed(selectors.objectives_of(actor, model))
    ]
    declared = sum(promise.row is not None for promise in promises)
    context = {"model": model, "promises": promises, "declared": declared}
    return page(request, "slos/objectives.html", context, status=422 if form else 200)


def _promise(
    actor: Actor,
    model: RegisteredModel,
    place: Environment,
    row: ServiceObjective | None,
    form: ObjectiveForm | None,
) -> Promise:
    objective = selectors.value_of(row) if row is not None else None
    may = access.allows(actor, "slos.objective.edit", team=model.team.slug, environment=place.slug)
    if may and form is None:
        initial = shown(objective) if objective is not None else {}
        form = ObjectiveForm(prefix=place.slug, initial=initial)
    return Promise(
        environment=place,
        row=row,
        objective=objective,
        budget=_budget(objective) if objective else "",
        answered=percent(objective.availability) if objective else "",
        fast=percent(objective.latency_share) if objective else "",
        form=form,
    )


def _budget(objective: Objective) -> str:
    """Return what may fail: "1 in 1,000 requests, as much as 40 minutes of nothing in 28 days"."""
    minutes = objective.allowed_down_minutes
    down = f"{minutes:.0f} minutes" if minutes >= 2 else f"{minutes * 60:.0f} seconds"
    one_in = 1 / objective.allowed_bad_share
    return (
        f"1 in {one_in:,.0f} requests, as much as {down} without any answer "
        f"in {objective.window_days} days"
    )
