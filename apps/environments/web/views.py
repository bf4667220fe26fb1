"""The page of freezes and change windows."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.domain import access
from apps.environments import selectors, services
from apps.environments.domain.calendar import Kind
from apps.environments.models import Environment
from apps.environments.web import showing
from apps.environments.web.forms import WAYS, DeclareForm
from controlplane.http.forms import blame
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

TABS = (("once", "Once"), ("weekly", "Every week"), ("calendar", "Calendar file"))


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def freezes(request: HttpRequest) -> HttpResponse:
    """Show when each environment is open, or declare a freeze or a window."""
    actor = actor_of(request)
    places = list(selectors.environments(actor))
    given = request.POST.get("way", "") if request.method == "POST" else request.GET.get("add", "")
    kind_of_form = WAYS.get(given, WAYS["once"])
    if request.method != "POST":
        wanted = request.GET.get("environment", "")
        form = kind_of_form(places=_mine(actor, places), initial={"environment": wanted})
        return _page(request, places, form)
    form = kind_of_form(request.POST, request.FILES, places=places)
    if form.is_valid():
        try:
            row = services.declare(
                actor=actor,
                environment=form.cleaned_data["environment"],
                kind=Kind(form.cleaned_data["kind"]),
                title=form.cleaned_data["title"],
                reason=form.cleaned_data["reason"],
                when=form.when(),
            )
        except (Conflict, Invalid) as error:
            blame(form, error)
        else:
            messages.success(request, f"{row.title} is declared for {row.environment.title}.")
            return redirect("freezes")
    else:
        slug = request.POST.get("environment", "")
        access.require(actor, "environments.freeze", team=access.EVERYWHERE, environment=slug)
    return _page(request, places, form)


@signed_in
@require_POST
def end(request: HttpRequest, freeze_id: str) -> HttpResponse:
    """End a freeze or a window now."""
    row = selectors.calendar_by_id(actor_of(request), freeze_id)
    try:
        services.end(
            actor=actor_of(request),
            environment=row.environment.slug,
            kind=Kind(row.kind),
            public_id=freeze_id,
            reason=request.POST.get("reason", ""),
        )
    except (Conflict, Invalid) as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, f"{row.title} is ended.")
    return redirect("freezes")


def _page(request: HttpRequest, places: list[Environment], form: DeclareForm) -> HttpResponse:
    actor, now = actor_of(request), SystemClock().now()
    rows = list(selectors.all_calendars(actor))
    mine = {p.slug for p in _mine(actor, places)}
    shown = [
        showing.place(
            place, [r for r in rows if r.environment_id == place.pk], now, may=place.slug in mine
        )
        for place in reversed(places)  # production first: it is what people come for
    ]
    context = {
        "places": shown,
        "summary": showing.summary(shown),
        "form": form,
        "tabs": TABS,
        "may": bool(mine),
    }
    return page(request, "environments/freezes.html", context, status=422 if form.errors else 200)


def _mine(actor: Actor, places: list[Environment]) -> list[Environment]:
    """Return the environments that the actor may freeze, production first."""
    return [
        place
        for place in reversed(places)
        if access.allows(
            actor, "environments.freeze", team=access.EVERYWHERE, environment=place.slug
        )
    ]
