"""Pages of builds: the list, and one build while it happens and afterwards."""

from collections.abc import Callable
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.domain import access
from apps.builds import selectors, services
from apps.builds.domain.states import BUILD, BuildMove, BuildState
from apps.builds.models import Build
from apps.builds.web import sheets
from controlplane.http.htmx import page
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import ControlPlaneError

PAGE = 40
WHOLE_LOG = 5_000  # chunks: a page shows all of it
PARTS = {
    "head": "builds/_build_head.html",
    "steps": "builds/_build_steps.html",
    "log": "builds/_build_log_part.html",
}
LIST_PARTS = {"list": "builds/_build_list.html"}


@signed_in
@require_GET
def builds(request: HttpRequest) -> HttpResponse:
    """List builds, newest first."""
    actor = actor_of(request)
    state = request.GET.get("state", "")
    known = state if state in list(BuildState) else ""
    found = cut(
        selectors.builds(actor, state=known), limit=PAGE, cursor=request.GET.get("cursor", "")
    )
    context = {
        "builds": found.rows,
        "slice": found,
        "running": selectors.visible(actor).filter(state__in=selectors.ACTIVE).count(),
        "filters": {"state": known},
        "states": [str(s) for s in BuildState],
        "base": f"{urlencode({'state': known})}&" if known else "",
        "topics": ["home", "build/*"],
    }
    return page(request, "builds/build_list.html", context, parts=LIST_PARTS)


@signed_in
@require_GET
def build(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one build; its parts look again by themselves while it is at work."""
    actor = actor_of(request)
    row = selectors.build(actor, public_id)
    variants = selectors.variants(row)
    context = {
        "build": row,
        "version": row.version,
        "model": row.version.model,
        "stations": sheets.stations(row, selectors.steps(row)),
        "variants": sheets.variant_rows(variants, None),
        "log": _log(request, row),
        "ended": row.state in selectors.ENDED,
        "lead": sheets.lead(row),
        "can": _can(actor, row),
        "topics": [f"build/{row.public_id}"],
    }
    return page(request, "builds/build.html", context, parts=PARTS)


@signed_in
@require_POST
def start(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Ask for a build of a version, and go to it."""
    try:
        begun = services.start(actor=actor_of(request), model=name, number=number)
    except ControlPlaneError as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
        return redirect(f"/models/{name}/versions/{number}")
    return redirect(f"/builds/{begun.public_id}")


@signed_in
@require_POST
def cancel(request: HttpRequest, public_id: str) -> HttpResponse:
    """End a build that is under way."""
    return _command(request, public_id, services.cancel, "The build is cancelled.")


@signed_in
@require_POST
def retry(request: HttpRequest, public_id: str) -> HttpResponse:
    """Run a build again that has failed or was cancelled."""
    return _command(request, public_id, services.retry, "The build begins again.")


def _command(
    request: HttpRequest, public_id: str, verb: Callable[..., Build], done: str
) -> HttpResponse:
    try:
        verb(actor=actor_of(request), build=public_id, reason=request.POST.get("reason", ""))
    except ControlPlaneError as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, done)
    return HttpResponseRedirect(f"/builds/{public_id}")


def _log(request: HttpRequest, row: Build) -> selectors.LogPart:
    """Return the log from where the page has read it to; all of it for a new attempt."""
    after, attempt = request.GET.get("after", ""), request.GET.get("attempt", "")
    going_on = after.isascii() and after.isdigit() and attempt == str(row.attempt)
    return selectors.log(row, after=int(after) if going_on else 0, limit=WHOLE_LOG)


def _can(actor: Actor, row: Build) -> dict[str, bool]:
    team = row.version.model.team.slug
    moves = BUILD.moves_from(BuildState(row.state))
    return {
        "cancel": BuildMove.CANCEL in moves and access.allows(actor, "builds.cancel", team=team),
        "retry": BuildMove.RETRY in moves and access.allows(actor, "builds.retry", team=team),
    }
