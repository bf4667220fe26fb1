"""Proposing a release, changing one, and breaking the glass: pages that say what will happen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_http_methods

from apps.accounts import selectors as accounts
from apps.accounts.domain import access
from apps.approvals import selectors as approvals
from apps.approvals.domain.quorum import Seat
from apps.builds import selectors as builds
from apps.environments import selectors as environments
from apps.environments.domain.calendar import Opening
from apps.environments.models import Environment
from apps.gates import selectors as gates
from apps.gates.domain import catalogue, policy
from apps.gates.domain.policy import PolicyDocument
from apps.registry import selectors as registry
from apps.registry.models import ModelVersion, RegisteredModel
from apps.releases import selectors, services
from apps.releases.models import Release
from apps.releases.web.checks import TITLES
from apps.releases.web.forms import ReleaseForm, initial_of, with_kept
from apps.releases.web.seen import Seen
from apps.rollouts import previewing
from apps.rollouts import selectors as rollouts
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.previewing import Offer
from controlplane.http.forms import blame
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid, Missing
from controlplane.kernel.figures import spoken

MENDABLE = (Conflict, Invalid)
SUGGESTED = 50  # versions to choose from
MOST_NAMED = 4


@dataclass(frozen=True)
class Wanted:
    """One approval that will be asked for."""

    title: str
    who: str
    could: str


@dataclass(frozen=True)
class Before:
    """What happens before traffic moves, told before anything is proposed.

    Attributes:
        gates: By section: the title and the gates, each with whether it is required.
        seats: Who must approve.
        opening: Whether rollouts may start there now.
        live: What answers there, in words.
        problem: Why nothing can be proposed; "" when it can.
    """

    gates: list[tuple[str, list[tuple[str, bool]]]]
    seats: list[Wanted]
    opening: Opening | None
    live: str
    problem: str = ""


@signed_in
@require_http_methods(["GET", "POST"])
def propose(request: HttpRequest) -> HttpResponse:
    """Ask what is to be served where; say beforehand what will be checked and who must agree."""
    actor = actor_of(request)
    access.require(actor, "releases.propose")
    told = request.POST if request.method == "POST" else request.GET
    name, number = told.get("model", ""), told.get("version", "")
    if not name or not _whole(number):
        return _choose(request, name)
    model = registry.model(actor, name)
    version = registry.version_of(model, int(number))
    everywhere = list(environments.in_order())
    place = _place(actor, model, everywhere, told.get("environment", ""))
    places = [e for e in everywhere if _may(actor, model, e)]
    rules = _rules(place, model)
    form = ReleaseForm(
        request.POST or None,
        variants=builds.servable(version.pk),
        offers=_offers(place, rules),
        initial={"replicas": place.default_replicas},
    )
    if request.method == "POST" and form.is_valid():
        answer = _propose(request, form, model, version, place)
        if answer is not None:
            return answer
    context = {
        "form": form,
        "model": model,
        "version": version,
        "place": place,
        "places": places,
        "before": _before(actor, version, model, place, rules),
        "release": None,
    }
    bad = request.method == "POST"
    return page(request, "releases/release_form.html", context, status=422 if bad else 200)


@signed_in
@require_http_methods(["GET", "POST"])
def revise(request: HttpRequest, number: int) -> HttpResponse:
    """Change what an open release would ship; what was approved is void by that."""
    actor = actor_of(request)
    row = selectors.release(actor, number)
    model, place = row.version.model, row.environment
    access.require(actor, "releases.revise", team=model.team.slug, environment=place.slug)
    rules = _rules(place, model)
    offers = with_kept(_offers(place, rules), row)
    form = ReleaseForm(
        request.POST or None,
        variants=builds.servable(row.version_id),
        offers=offers,
        initial=initial_of(row, offers),
    )
    if request.method == "POST" and form.is_valid():
        reason = request.POST.get("reason", "")
        wanted = {k: v for k, v in form.wanted().items() if v is not None}

        def change() -> Release:
            return services.revise(actor=actor, number=number, reason=reason, **wanted)

        if _mended(form, change):
            messages.success(request, f"R-{number} is changed. What hangs on it is checked again.")
            return HttpResponseRedirect(f"/releases/{number}")
    context = {
        "form": form,
        "model": model,
        "version": row.version,
        "place": place,
        "places": [place],
        "before": _before(actor, row.version, model, place, rules),
        "release": row,
    }
    bad = request.method == "POST"
    return page(request, "releases/release_form.html", context, status=422 if bad else 200)


@signed_in
@require_http_methods(["GET", "POST"])
def break_glass(request: HttpRequest, number: int) -> HttpResponse:
    """Say loudly what shipping without approval means; do it for a reason and the model's name."""
    actor = actor_of(request)
    row = selectors.release(actor, number)
    model, place = row.version.model, row.environment
    access.require(actor, "releases.break_glass", team=model.team.slug, environment=place.slug)
    seen = Seen(actor, row, SystemClock().now())
    error, reason = "", request.POST.get("reason", "")
    if request.method == "POST":
        try:
            _check_name(request.POST.get("name", ""), model.name)
            services.break_glass(actor=actor, number=number, reason=reason)
        except MENDABLE as refused:
            error = f"{refused.sentence} {refused.remedy}".strip()
        else:
            messages.warning(request, f"The glass is broken: R-{number} ships without approval.")
            return HttpResponseRedirect(f"/releases/{number}")
    context = {
        "release": row,
        "model": model,
        "environment": place,
        "rules": seen.rules,
        "lasts": _long(seen.rules, "lasts"),
        "review_within": _long(seen.rules, "review_within"),
        "blocking": seen.standing.checklist.blocking if seen.standing.checklist else (),
        "seats": [s for s in seen.request.seats if s.filled_by is None] if seen.request else [],
        "allowed": seen.rules is not None and seen.rules.emergency.allowed and seen.waiting,
        "error": error,
        "reason": reason,
    }
    return page(request, "releases/break_glass.html", context, status=422 if error else 200)


def _propose(
    request: HttpRequest,
    form: ReleaseForm,
    model: RegisteredModel,
    version: ModelVersion,
    place: Environment,
) -> HttpResponse | None:
    """Propose, and go to the release; None when the form has to be mended."""
    made: list[tuple[Release, bool]] = []

    def ask() -> None:
        made.append(
            services.propose(
                actor=actor_of(request),
                model=model.name,
                version=version.number,
                environment=place.slug,
                **form.wanted(),
            )
        )

    if not _mended(form, ask):
        return None
    row, new = made[0]
    if not new:
        messages.info(request, f"R-{row.number} proposes exactly that already.")
    return HttpResponseRedirect(f"/releases/{row.number}")


def _mended(form: ReleaseForm, verb: Callable[[], object]) -> bool:
    """Return whether `verb` was done; what it refused stands at the form's fields."""
    try:
        verb()
    except MENDABLE as error:
        blame(form, error)
        return False
    return True


def _choose(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for a version first."""
    actor = actor_of(request)
    model, versions = None, []
    if name:
        model = registry.model(actor, name)
        versions = list(registry.versions(model)[:SUGGESTED])
    context: dict[str, Any] = {
        "model": model,
        "versions": versions,
        "recent": [] if model else registry.recent_versions(actor, limit=12),
        "query": urlencode({"environment": request.GET.get("environment", "")}),
    }
    return page(request, "releases/release_choose.html", context)


def _before(
    actor: Actor,
    version: ModelVersion,
    model: RegisteredModel,
    place: Environment,
    rules: PolicyDocument | None,
) -> Before:
    live = rollouts.live_revision(model.pk, place.pk)
    answers = f"v{live.version.number}, {live.variant.kind}" if live else ""
    if rules is None:
        problem = f"{place.title} has no policy for {model.risk_tier}-risk models."
        return Before([], [], None, answers, f"{problem} An admin has to write one first.")
    return Before(
        gates=_listed(rules),
        seats=_seats(actor, version, place, rules),
        opening=environments.opening(place, SystemClock().now()),
        live=answers,
    )


def _listed(rules: PolicyDocument) -> list[tuple[str, list[tuple[str, bool]]]]:
    told: dict[str, list[tuple[str, bool]]] = {}
    for rule in rules.gates:
        known = catalogue.CATALOGUE.get(rule.gate)
        title = known.title if known else rule.gate
        section = TITLES[known.section] if known else "Other"
        told.setdefault(section, []).append((title, rule.required))
    return list(told.items())


def _seats(
    actor: Actor, version: ModelVersion, place: Environment, rules: PolicyDocument
) -> list[Wanted]:
    """Return who must agree; neither the proposer nor the version's author is among them."""
    wanted = rules.approvals.seats
    roles = {role for seat in wanted for role in seat.roles}
    author = version.registered_by.partition("/")[0]
    holders = [
        holder
        for holder in (accounts.holders(roles) if roles else [])
        if holder.pk != actor.person_id and holder.username != author
    ]
    owner = version.model.team.slug
    found = []
    for asked in wanted:
        team = owner if asked.team == policy.OWNER else asked.team
        seat = Seat(asked.title, frozenset(asked.roles), team)
        could = [h.title for h in holders if seat.accepts(h.grants, place.slug)]
        found.append(Wanted(asked.title, approvals.words(seat), _names(could)))
    return found


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _place(
    actor: Actor, model: RegisteredModel, everywhere: list[Environment], wanted: str
) -> Environment:
    """Return the environment that was named, or the first that needs a release.

    Raises:
        Denied: The actor may not propose there.
        Missing: There is no such environment.
    """
    team = model.team.slug
    if wanted:
        named = next((e for e in everywhere if e.slug == wanted), None)
        named = named or environments.by_slug(wanted)
        access.require(actor, "releases.propose", team=team, environment=named.slug)
        return named
    places = [e for e in everywhere if _may(actor, model, e)]
    if not places:
        access.require(actor, "releases.propose", team=team, environment=access.EVERYWHERE)
        raise Missing("There is no environment to propose it for.", code="environments.missing")
    return next((e for e in places if e.protected), places[-1])


def _rules(place: Environment, model: RegisteredModel) -> PolicyDocument | None:
    try:
        return policy.parse(gates.policy_in_force(place, model.risk_tier).document)
    except Conflict:
        return None


def _offers(place: Environment, rules: PolicyDocument | None) -> list[Offer]:
    """Return how traffic may move there; without a policy, everything is shown."""
    return previewing.offers(place, rules.strategies if rules else list(StrategyKind))


def _may(actor: Actor, model: RegisteredModel, place: Environment) -> bool:
    team = model.team.slug
    return access.allows(actor, "releases.propose", team=team, environment=place.slug)


def _check_name(given: str, name: str) -> None:
    if given.strip() != name:
        raise Invalid(
            f"{given[:80]!r} is not the model's name.",
            remedy=f"Type {name}, so that it is this one and no other.",
            field="name",
        )


def _long(rules: PolicyDocument | None, name: str) -> str:
    if rules is None:
        return ""
    return spoken(getattr(rules.emergency, name).total_seconds())


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
