"""Home: what is live, what is in the making, what is wrong, what happened lately."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from apps.accounts.domain import access
from apps.audit import selectors as ledger
from apps.audit.domain.words import QUIET, Told, tell
from apps.builds import selectors as builds
from apps.builds.models import Build
from apps.builds.web import sheets
from apps.console import standing
from apps.console.web.serving import table
from apps.endpoints import selectors as endpoints
from apps.endpoints.domain.summary import EndpointState
from apps.registry import selectors as registry
from apps.releases.web import inbox
from apps.rollouts import selectors as rollouts
from apps.rollouts.web import listing
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.http.templatetags.components import rounded, word_for
from controlplane.kernel.actor import Actor

MOST_LIVE = 12
MOST_ENDPOINTS = 200
MOST_MAKING = 6
MOST_ROLLING = 6
MOST_WRONG = 5
MOST_EVENTS = 12
MOST_WAITING = 4
STATIONS = 4  # register, build, verify, live
PARTS = {
    "head": "console/_home_head.html",
    "wrong": "console/_home_wrong.html",
    "rolling": "console/_home_rolling.html",
    "live": "console/_home_live.html",
    "making": "console/_home_making.html",
    "lately": "console/_home_lately.html",
    "waits": "console/_home_waits.html",
}
NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


@dataclass(frozen=True)
class Wrong:
    """One thing that is not as it should be, and what to do about it."""

    state: str
    what: str
    why: str
    href: str
    verb: str


@dataclass(frozen=True)
class Making:
    """One version between registered and live.

    Attributes:
        at: Its station, 1 to 4.
        stations: "travelled", "here" or "ahead", in order.
        towards: The environment it goes to; "" while it is built.
    """

    name: str
    number: int
    href: str
    state: str
    words: str
    at: int
    stations: tuple[str, ...]
    towards: str
    fact: str


@signed_in
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Answer four questions on one page, the worst news first."""
    actor = actor_of(request)
    views = [endpoints.view(e) for e in endpoints.endpoints(actor)[:MOST_ENDPOINTS]]
    active = builds.active_builds(actor)
    failed = builds.failed_builds(actor, limit=MOST_WRONG)
    wrong = _wrong(views, failed)
    live = sorted((v for v in views if v.live or v.coming or v.failed), key=_worst_first)
    rows = table(actor, live[:MOST_LIVE], show_environment=True)
    rolling = _rolling(actor)
    moving = {line.row.candidate_id for line in rolling}
    making = _making(active, [v for v in views if v.coming is None or v.coming.pk not in moving])
    context = {
        "heading": _heading(wrong, live, making),
        "lead": _lead(live, making, rows, rolling),
        "wrong": wrong[:MOST_WRONG],
        "rows": rows,
        "more": max(0, len(live) - MOST_LIVE),
        "rolling": rolling,
        "making": making[:MOST_MAKING],
        "events": _events(actor),
        "waits": inbox.to_decide(actor, limit=MOST_WAITING),
        "first": not views and not active and not registry.recent_versions(actor, limit=1),
        "topics": ["home", "inbox", "endpoint/*", "build/*", "model/*"],
    }
    return page(request, "console/home.html", context, parts=PARTS)


def _wrong(views: Sequence[endpoints.EndpointView], failed: Sequence[Build]) -> list[Wrong]:
    """Return what needs a look: endpoints that do not answer first, then builds that failed."""
    down = [_endpoint_wrong(v) for v in views if v.state in standing.WRONG or _stuck(v)]
    return sorted(down, key=lambda w: w.state != "open") + [_build_wrong(b) for b in failed]


def _stuck(view: endpoints.EndpointView) -> bool:
    """Return whether a new revision failed beside one that goes on answering."""
    return view.state is EndpointState.LIVE and view.failed is not None


def _endpoint_wrong(view: endpoints.EndpointView) -> Wrong:
    where = f"{view.row.name} in {view.row.environment.slug}"
    problem = next((r.problem for r in (view.failed, view.live) if r and r.problem), "")
    if view.state in (EndpointState.DOWN, EndpointState.FAILED):
        verb = "does not answer" if view.state is EndpointState.DOWN else "could not be started"
        return Wrong("open", f"{where} {verb}.", problem, standing.href(view), "Look at it")
    if view.state is EndpointState.DEGRADED:
        sentence = f"{where} answers with fewer replicas than asked."
        return Wrong("warning", sentence, problem, standing.href(view), "Look at it")
    number = view.failed.version.number if view.failed else 0
    sentence = f"v{number} could not take over at {where}; what was live goes on."
    return Wrong("warning", sentence, problem, standing.href(view), "Look at it")


def _build_wrong(build: Build) -> Wrong:
    what = f"Build {build.number} of {build.version.model.name} v{build.version.number} failed."
    why = f"{build.problem} {build.remedy}".strip()
    return Wrong("failed", what, why, f"/builds/{build.public_id}", "Open the build")


def _rolling(actor: Actor) -> list[listing.Line]:
    """Return the rollouts that run, those that wait for a person first."""
    found = listing.lines(list(rollouts.running(actor)[:MOST_ROLLING]))
    return sorted(found, key=lambda line: not line.asks)


def _making(active: Sequence[Build], views: Sequence[endpoints.EndpointView]) -> list[Making]:
    """Return what moves: revisions on their way first, since they are nearer to traffic."""
    coming = [_coming_up(v) for v in views if v.coming is not None]
    return [*coming, *(_being_built(b) for b in active)]


def _coming_up(view: endpoints.EndpointView) -> Making:
    revision = view.coming
    assert revision is not None  # noqa: S101  the caller asked
    last = revision.state == "shifting"
    return Making(
        name=view.row.name,
        number=revision.version.number,
        href=standing.href(view),
        state=revision.state,
        words=word_for(revision.state),
        at=4 if last else 3,
        stations=_stations(4 if last else 3),
        towards=view.row.environment.slug,
        fact=f"Revision {revision.number} {standing.COMING.get(revision.state, '')}.",
    )


def _being_built(build: Build) -> Making:
    return Making(
        name=build.version.model.name,
        number=build.version.number,
        href=f"/builds/{build.public_id}",
        state=build.state,
        words=word_for(build.state),
        at=2,
        stations=_stations(2),
        towards="",
        fact=sheets.lead(build),
    )


def _stations(at: int) -> tuple[str, ...]:
    return tuple(
        "travelled" if n < at else "here" if n == at else "ahead" for n in range(1, STATIONS + 1)
    )


def _heading(
    wrong: Sequence[Wrong], live: Sequence[endpoints.EndpointView], making: Sequence[Making]
) -> str:
    answering = sum(_answers(v) for v in live)
    if wrong:
        things = "thing is" if len(wrong) == 1 else "things are"
        return f"{_number(len(wrong))} {things} wrong"
    if answering:
        serve = "endpoint answers" if answering == 1 else "endpoints answer"
        return f"All is well: {_number(answering).lower()} {serve}"
    return "Nothing is served yet" if not making else "The first version is on its way"


def _lead(
    live: Sequence[endpoints.EndpointView],
    making: Sequence[Making],
    rows: Sequence[standing.EndpointRow],
    rolling: Sequence[listing.Line],
) -> str:
    answering = [v for v in live if _answers(v)]
    where = len({v.row.environment_id for v in answering})
    rate = sum(r.requests or 0.0 for r in rows)
    parts = []
    if answering:
        models = len({v.row.model_id for v in answering})
        noun = "model serves" if models == 1 else "models serve"
        places = "one environment" if where == 1 else f"{_number(where).lower()} environments"
        traffic = f"{rounded(rate)} requests a second" if rate else "no request right now"
        parts.append(f"{_number(models)} {noun} {traffic} in {places}.")
    if rolling:
        verb = "rollout is" if len(rolling) == 1 else "rollouts are"
        parts.append(f"{_number(len(rolling))} {verb} under way.")
    moving = len(making)
    if moving:
        verb = "version is" if moving == 1 else "versions are"
        parts.append(f"{_number(moving)} {verb} in the making.")
    return " ".join(parts) or "Register a version, build it, and serve it."


def _answers(view: endpoints.EndpointView) -> bool:
    return view.state in (EndpointState.LIVE, EndpointState.DEGRADED)


def _worst_first(view: endpoints.EndpointView) -> tuple[int, int, str]:
    order = [*standing.WRONG, EndpointState.STARTING, EndpointState.LIVE, EndpointState.RETIRED]
    return (order.index(view.state), -view.row.environment.rank, view.row.name)


def _events(actor: Actor) -> list[Told]:
    if not access.allows(actor, "audit.read"):
        return []
    events = ledger.events(ledger.Search())[: MOST_EVENTS * 8]
    told = [
        tell(
            at=e.at,
            actor_kind=e.actor_kind,
            actor_name=e.actor_name,
            verb=e.verb,
            subject=e.subject,
            reason=e.reason,
        )
        for e in events
        if not e.verb.startswith(QUIET)
    ]
    return told[:MOST_EVENTS]


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"
