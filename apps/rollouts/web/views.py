"""Pages of rollouts: the list, one rollout, and what a person does to it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.domain import access
from apps.environments import selectors as environments
from apps.rollouts import selectors
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.words import step_lines
from apps.rollouts.models import Rollout
from apps.rollouts.web import acting, listing, panels
from apps.rollouts.web.answer import answer, attention
from apps.rollouts.web.judged import panel
from apps.rollouts.web.ladder import ladder
from apps.rollouts.web.seen import Seen
from apps.rollouts.web.shadow import shadow
from apps.rollouts.web.sides import sides
from apps.rollouts.web.trial import trial
from controlplane.http.htmx import page
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

PAGE = 30
DONE = {
    "pause": "The rollout is paused. Its traffic stays as it is.",
    "resume": "The rollout goes on.",
    "skip": "The step is skipped.",
    "promote": "All requests move over now.",
    "abort": "The rollout ends: what was live before answers everything.",
}
LIST_PARTS = {"list": "rollouts/_rollout_list.html"}
PARTS = {
    "head": "rollouts/_rollout_head.html",
    "acts": "rollouts/_rollout_acts.html",
    "ladder": "rollouts/_rollout_ladder.html",
    "judge": "rollouts/_rollout_judge.html",
    "sides": "rollouts/_rollout_sides.html",
    "aside": "rollouts/_rollout_aside.html",
}


@signed_in
@require_GET
def rollouts(request: HttpRequest) -> HttpResponse:
    """List rollouts, those that run first."""
    actor = actor_of(request)
    asked = {k: request.GET.get(k, "").strip()[:140] for k in ("environment", "model", "state")}
    if asked["state"] not in listing.STATES:
        asked["state"] = ""
    found = cut(
        selectors.in_order(actor, **asked), limit=PAGE, cursor=request.GET.get("cursor", "")
    )
    chosen = {key: value for key, value in asked.items() if value}
    context = {
        "lines": listing.lines(found.rows),
        "running": selectors.running(actor).count(),
        "slice": found,
        "filters": asked,
        "filtered": bool(chosen),
        "states": listing.STATES,
        "environments": environments.in_order(),
        "base": f"{urlencode(chosen)}&" if chosen else "",
        "topics": ["rollouts"],
    }
    return page(request, "rollouts/rollout_list.html", context, parts=LIST_PARTS)


@signed_in
@require_GET
def count(request: HttpRequest) -> HttpResponse:
    """Return how many rollouts run, for the yard line; fetched after the page."""
    actor = actor_of(request)
    running = selectors.running(actor).count() if access.allows(actor, "rollouts.read") else 0
    return page(request, "rollouts/_count.html", {"running": running})


@signed_in
@require_GET
def rollout(request: HttpRequest, rollout_id: str) -> HttpResponse:
    """Show one rollout; its parts look again by themselves."""
    seen = _seen(request, selectors.rollout(actor_of(request), rollout_id))
    wanted = request.GET.get("part", "") if request.headers.get("HX-Request") else ""
    builders = [_BUILDERS[wanted]] if wanted in _BUILDERS else list(_BUILDERS.values())
    context = _frame(seen)
    for build in builders:
        context |= build(seen)
    return page(request, "rollouts/rollout.html", context, parts=PARTS)


@signed_in
@require_http_methods(["GET", "POST"])
def pause(request: HttpRequest, rollout_id: str) -> HttpResponse:
    """Keep the traffic as it is."""
    return _act(request, rollout_id, "pause")


@signed_in
@require_http_methods(["GET", "POST"])
def resume(request: HttpRequest, rollout_id: str) -> HttpResponse:
    """Go on."""
    return _act(request, rollout_id, "resume")


@signed_in
@require_http_methods(["GET", "POST"])
def skip(request: HttpRequest, rollout_id: str) -> HttpResponse:
    """Go on to the next step now."""
    return _act(request, rollout_id, "skip")


@signed_in
@require_http_methods(["GET", "POST"])
def promote(request: HttpRequest, rollout_id: str) -> HttpResponse:
    """Let the candidate answer everything now."""
    return _act(request, rollout_id, "promote")


@signed_in
@require_http_methods(["GET", "POST"])
def abort(request: HttpRequest, rollout_id: str) -> HttpResponse:
    """Send everything back."""
    return _act(request, rollout_id, "abort")


def _act(request: HttpRequest, rollout_id: str, verb: str) -> HttpResponse:
    """Ask for a reason and do it; what is wrong is said where it was asked."""
    actor = actor_of(request)
    row = selectors.rollout(actor, rollout_id)
    if request.method == "GET":
        team, place = row.endpoint.model.team.slug, row.endpoint.environment.slug
        access.require(actor, f"rollouts.{verb}", team=team, environment=place)
        return _ask(request, row, verb)
    reason = request.POST.get("reason", "")
    try:
        acting.SERVICES[verb](actor=actor, rollout=rollout_id, reason=reason)
    except Invalid as error:
        return _ask(request, row, verb, error=error, status=422)
    except Conflict as error:
        row = selectors.rollout(actor, rollout_id)
        return _ask(request, row, verb, error=error, status=409)
    messages.success(request, DONE[verb])
    return HttpResponseRedirect(f"/rollouts/{rollout_id}")


def _ask(
    request: HttpRequest,
    row: Rollout,
    verb: str,
    *,
    error: Invalid | Conflict | None = None,
    status: int = 200,
) -> HttpResponse:
    seen = _seen(request, row)
    context = {
        "rollout": row,
        "act": acting.act(seen, verb),
        "possible": acting.possible(seen, verb),
        "answer": answer(seen),
        "error": f"{error.sentence} {error.remedy}".strip() if error else "",
        "reason": request.POST.get("reason", ""),
    }
    return render(request, "rollouts/rollout_act.html", context, status=status)


def _seen(request: HttpRequest, row: Rollout) -> Seen:
    whole = request.GET.get("log") == "all"
    return Seen(actor_of(request), row, SystemClock().now(), whole)


def _frame(seen: Seen) -> dict[str, Any]:
    row = seen.row
    endpoint = row.endpoint
    return {
        "rollout": row,
        "endpoint": endpoint,
        "environment": endpoint.environment,
        "log_query": "log=all&" if seen.whole_log else "",
        "topics": [f"rollout/{row.public_id}", f"endpoint/{endpoint.public_id}"],
    }


def _head(seen: Seen) -> dict[str, Any]:
    return {
        "answer": answer(seen),
        "attention": attention(seen),
        "acts": acting.acts(seen),
    }


def _acts(seen: Seen) -> dict[str, Any]:
    return {"dialogs": acting.permitted(seen)}


def _ladder(seen: Seen) -> dict[str, Any]:
    return {"ladder": ladder(seen)}


def _judge(seen: Seen) -> dict[str, Any]:
    plan = None
    if seen.state is RolloutState.PENDING:
        plan = step_lines(seen.strategy, has_stable=seen.row.stable is not None)
    return {
        "plan": plan,
        "judge": panel(seen),
        "shadow": shadow(seen),
        "trial": trial(seen),
    }


def _sides(seen: Seen) -> dict[str, Any]:
    never = seen.state in (RolloutState.PENDING, RolloutState.CANCELLED)
    return {"sides": None if never else sides(seen)}


def _aside(seen: Seen) -> dict[str, Any]:
    return {
        "back": panels.back(seen),
        "canary": panels.canary(seen),
        "fit": seen.row.fit or None,
        "log": panels.log(seen),
    }


_BUILDERS: dict[str, Callable[[Seen], dict[str, Any]]] = {
    "head": _head,
    "acts": _acts,
    "ladder": _ladder,
    "judge": _judge,
    "sides": _sides,
    "aside": _aside,
}
