"""Pages of strategies: the templates of each environment, writing one, and previews."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.domain import access
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.rollouts import previewing, selectors, templates
from apps.rollouts.domain import document
from apps.rollouts.models import StrategyTemplate
from apps.rollouts.web import drafts
from apps.rollouts.web.drafts import Draft
from apps.rollouts.web.forms import KINDS, TemplateForm
from apps.rollouts.web.previews import Drawn, drawn
from controlplane.http.forms import blame
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, Invalid, Missing

VERB = "rollouts.template.edit"
PARTS = {"draft": "rollouts/_strategy_draft.html"}


@dataclass(frozen=True)
class Line:
    """One template in a list."""

    row: StrategyTemplate
    drawn: Drawn


@dataclass(frozen=True)
class Place:
    """The templates of one environment.

    Attributes:
        may: Whether the reader may write them.
        unnamed: What happens to a release that names no strategy.
    """

    environment: Environment
    lines: list[Line]
    may: bool
    unnamed: str


@signed_in
@require_safe
def strategies(request: HttpRequest) -> HttpResponse:
    """Show the templates of every environment."""
    actor = actor_of(request)
    rows = selectors.all_templates(actor)
    places = [
        Place(
            place,
            [_line(row) for row in rows if row.environment_id == place.pk],
            _may(actor, place),
            _unnamed(rows, place),
        )
        for place in reversed(environments.in_order())  # production first
    ]
    plain = [previewing.plain(kind) for kind in previewing.PLAIN]
    return page(request, "rollouts/strategies.html", {"places": places, "plain": plain})


def _unnamed(rows: Iterable[StrategyTemplate], place: Environment) -> str:
    usual = next((row for row in rows if row.environment_id == place.pk and row.is_default), None)
    if usual is not None:
        return f"A release that names no strategy takes “{usual.title}”."
    return (
        "No template is the default: a release that names no strategy takes all requests at once."
    )


@signed_in
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Write a new template of an environment, of the first one when none is named."""
    actor = actor_of(request)
    told = request.POST if request.method == "POST" else request.GET
    named = told.get("environment", "")
    place = environments.by_slug(named) if named else environments.in_order()[0]
    access.require(actor, VERB, team=access.EVERYWHERE, environment=place.slug)
    if request.method != "POST":
        return _page(request, place, None, TemplateForm(), drafts.first())
    form, draft = TemplateForm(request.POST), drafts.read(request.POST)
    if request.POST.get("act") == "save" and _saved(request, place, None, form, draft):
        return redirect("strategies")
    return _page(request, place, None, form, draft)


@signed_in
@require_http_methods(["GET", "POST"])
def template(request: HttpRequest, environment: str, template: str) -> HttpResponse:
    """Show one template; for admins, change it."""
    actor = actor_of(request)
    selectors.rollouts(actor)  # asks whether they may read at all
    place = environments.by_slug(environment)
    row = selectors.template(place, template)
    if request.method != "POST":
        form = TemplateForm(initial={"title": row.title, "is_default": row.is_default})
        return _page(request, place, row, form, drafts.of(row.document))
    access.require(actor, VERB, team=access.EVERYWHERE, environment=place.slug)
    form, draft = TemplateForm(request.POST), drafts.read(request.POST)
    if request.POST.get("act") == "save" and _saved(request, place, row, form, draft):
        return redirect("strategies")
    return _page(request, place, row, form, draft)


@signed_in
@require_POST
def make_default(request: HttpRequest, environment: str, template: str) -> HttpResponse:
    """Have releases that name no strategy take this one, or the one that is it no more."""
    place = environments.by_slug(environment)
    actor = actor_of(request)
    access.require(actor, VERB, team=access.EVERYWHERE, environment=place.slug)
    row = selectors.template(place, template)
    try:
        templates.save(
            actor=actor, environment=place, name=row.name, title=row.title,
            document=row.document, is_default=not row.is_default,
        )  # fmt: skip
    except Conflict as error:
        messages.error(request, f"{error.sentence} {error.remedy}")
    else:
        now = "is no longer" if row.is_default else "is now"
        messages.success(request, f"{row.title} {now} the default of {place.title}.")
    return redirect("strategies")


@signed_in
@require_POST
def remove(request: HttpRequest, environment: str, template: str) -> HttpResponse:
    """Remove a template; releases that were proposed with it keep what it said."""
    place = environments.by_slug(environment)
    templates.remove(
        actor=actor_of(request), environment=place, name=template,
        reason=request.POST.get("reason", "")[:2000],
    )  # fmt: skip
    messages.success(request, f"The template {template} of {place.title} is removed.")
    return redirect("strategies")


@signed_in
@require_safe
def preview(request: HttpRequest) -> HttpResponse:
    """Say what a strategy would do, for a form that offers several."""
    actor = actor_of(request)
    context: dict[str, Any] = {"asked": request.GET}
    try:
        if request.GET.get("strategy") != previewing.KEEP:
            context["drawn"] = drawn(previewing.asked(actor, **_asked(request.GET)))
    except (Invalid, Missing) as error:
        context["error"] = error
    return page(
        request, "rollouts/strategy_preview.html", context,
        parts={"preview": "rollouts/_strategy_preview.html"},
    )  # fmt: skip


def _asked(told: QueryDict) -> dict[str, Any]:
    """Return what a form's fields ask about; what cannot be read yet is left out."""
    given = {name: str(told.get(name, "")) for name in ("version", "replicas")}
    whole = {
        name: int(text)
        for name, text in given.items()
        if text.isascii() and text.isdigit() and len(text) < 10
    }
    texts = {name: told.get(name, "") for name in ("environment", "model", "variant", "runtime")}
    return {"strategy": previewing.told(told.get("strategy", "")), **texts, **whole}


def _page(
    request: HttpRequest,
    place: Environment,
    row: StrategyTemplate | None,
    form: TemplateForm,
    draft: Draft,
) -> HttpResponse:
    shown = draft.preview or previewing.preview(document.parse(draft.document))
    context = {
        "environment": place,
        "template": row,
        "form": form,
        "draft": draft,
        "kinds": KINDS,
        "drawn": drawn(shown),
        "may": _may(actor_of(request), place),
    }
    wrong = request.method == "POST" and (draft.faults or form.errors)
    # htmx swaps a part only when the answer is one of success.
    status = 422 if wrong and not request.headers.get("HX-Request") else 200
    return page(request, "rollouts/strategy_form.html", context, parts=PARTS, status=status)


def _saved(
    request: HttpRequest,
    place: Environment,
    row: StrategyTemplate | None,
    form: TemplateForm,
    draft: Draft,
) -> bool:
    """Save it; return False when something has to be mended, which then stands at its field."""
    if not form.is_valid() or not draft.makes_sense:
        return False
    given = form.cleaned_data
    try:
        name = row.name if row else _free_name(place, given["title"])
        saved = templates.save(
            actor=actor_of(request), environment=place, name=name, title=given["title"],
            document=draft.document, is_default=given["is_default"], reason=given["reason"],
        )  # fmt: skip
    except (Conflict, Invalid) as error:
        blame(form, error)
        return False
    messages.success(request, f"{saved.title} is saved for {place.title}.")
    return True


def _free_name(place: Environment, title: str) -> str:
    """Return the name that a title makes.

    Raises:
        Conflict: A template has it already: writing a new one must not change another.
    """
    name = templates.name_of(title)
    if selectors.templates_of(place).filter(name=name).exists():
        raise Conflict(
            f"{place.title} has a template {name} already.",
            remedy="Choose another title, or change that one.",
            field="title",
            code="rollout.template_exists",
        )
    return name


def _line(row: StrategyTemplate) -> Line:
    return Line(row, drawn(previewing.preview(document.parse(row.document))))


def _may(actor: Actor, place: Environment) -> bool:
    return access.allows(actor, VERB, team=access.EVERYWHERE, environment=place.slug)
