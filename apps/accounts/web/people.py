"""The pages of people, teams and roles."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import ledger, selectors, services
from apps.accounts.domain import access
from apps.accounts.models import Person
from apps.accounts.web.forms import MENDABLE, PersonForm, RoleForm, TeamForm, show_error
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in

PAGE = 50


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def people(request: HttpRequest) -> HttpResponse:
    """List people and teams, or create somebody and show their one-time password."""
    if request.method != "POST":
        return _people_page(request, PersonForm(), TeamForm())
    form = PersonForm(request.POST)
    if not form.is_valid():
        return _people_page(request, form, TeamForm(), status=422)
    try:
        person, password = services.create_person(actor=actor_of(request), **form.cleaned_data)
    except MENDABLE as error:
        show_error(form, error)
        return _people_page(request, form, TeamForm(), status=422)
    return _person_page(request, person.username, password=password)


@signed_in
@require_POST
def create_team(request: HttpRequest) -> HttpResponse:
    """Create a team."""
    form = TeamForm(request.POST)
    if form.is_valid():
        try:
            team = services.create_team(actor=actor_of(request), **form.cleaned_data)
        except MENDABLE as error:
            show_error(form, error)
        else:
            messages.success(request, f"The team {team.slug} exists. Give people roles in it.")
            return redirect("people")
    return _people_page(request, PersonForm(), form, status=422)


@signed_in
@require_safe
def person(request: HttpRequest, username: str) -> HttpResponse:
    """Show somebody, with roles and latest acts."""
    return _person_page(request, username)


@signed_in
@require_POST
def grant(request: HttpRequest, username: str) -> HttpResponse:
    """Give somebody a role."""
    form = _role_form(request.POST)
    if not form.is_valid():
        return _person_page(request, username, form=form, status=422)
    try:
        services.grant_role(actor=actor_of(request), username=username, **form.cleaned_data)
    except MENDABLE as error:
        show_error(form, error)
        return _person_page(request, username, form=form, status=422)
    messages.success(request, f"{username} is {form.cleaned_data['role']} now.")
    return redirect("person", username)


@signed_in
@require_POST
def revoke(request: HttpRequest, username: str, grant_id: str) -> HttpResponse:
    """Take a role away."""
    services.revoke_role(actor=actor_of(request), grant_id=grant_id)
    messages.success(request, f"The role of {username} is taken away.")
    return redirect("person", username)


@never_cache
@signed_in
@require_POST
def reset_password(request: HttpRequest, username: str) -> HttpResponse:
    """Give somebody a new password and show it this once."""
    _, password = services.reset_password(actor=actor_of(request), username=username)
    return _person_page(request, username, password=password)


@signed_in
@require_POST
def set_active(request: HttpRequest, username: str) -> HttpResponse:
    """Let somebody in, or keep them out."""
    active = request.POST.get("active") == "true"
    services.set_active(actor=actor_of(request), username=username, active=active)
    said = "may sign in again" if active else "is signed out, and their tokens have ended"
    messages.success(request, f"{username} {said}.")
    return redirect("person", username)


def _people_page(
    request: HttpRequest, form: PersonForm, team_form: TeamForm, status: int = 200
) -> HttpResponse:
    actor = actor_of(request)
    found = selectors.people(actor)
    part = cut(found, limit=PAGE, cursor=request.GET.get("cursor", ""))
    context = {
        "people": part.rows,
        "slice": part,
        "total": Person.objects.filter(is_active=True).count(),
        "teams": list(selectors.teams(actor)[:200]),
        "form": form,
        "team_form": team_form,
        "may_manage": access.allows_everywhere(actor, "accounts.person.manage"),
        "may_team": access.allows_everywhere(actor, "accounts.team.manage"),
    }
    return render(request, "accounts/people.html", context, status=status)


def _person_page(
    request: HttpRequest,
    username: str,
    *,
    password: str = "",
    form: RoleForm | None = None,
    status: int = 200,
) -> HttpResponse:
    actor = actor_of(request)
    somebody = selectors.person(actor, username)
    context = {
        "person": somebody,
        "grants": getattr(somebody, "granted", []),
        "form": form or _role_form(None),
        "password": password,
        "is_me": somebody.pk == actor.person_id,
        "acts": _acts(request, username),
        "may_manage": access.allows_everywhere(actor, "accounts.person.manage"),
        "may_grant": access.allows(actor, "accounts.grant.manage"),
    }
    return render(request, "accounts/person.html", context, status=status)


def _role_form(data: Any) -> RoleForm:
    slugs = list(selectors.all_teams().values_list("slug", flat=True))
    return RoleForm(data, teams=slugs)


def _acts(request: HttpRequest, username: str) -> list[Any]:
    if not access.allows(actor_of(request), "audit.read"):
        return []
    return list(ledger.events(actor_of(request), {"actor": username})[:10])
