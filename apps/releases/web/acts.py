"""A person's verbs on a release: one service each, and back to where the reader was."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from apps.accounts.domain import access
from apps.gates import services as gates
from apps.releases import selectors, services
from apps.releases.web.seen import Seen, load
from apps.releases.web.views import Changed, changes_since, show
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, ControlPlaneError, Denied, Invalid, Missing

STALE = "approvals.changed"
LONGEST_DAYS = 4  # digits


@signed_in
@require_POST
def approve(request: HttpRequest, number: int) -> HttpResponse:
    """Say yes to exactly what was shown."""
    return _decide(request, number, services.approve, "Your approval is recorded.")


@signed_in
@require_POST
def request_changes(request: HttpRequest, number: int) -> HttpResponse:
    """Ask the proposer to change something."""
    return _decide(request, number, services.request_changes, "You asked for changes.")


@signed_in
@require_POST
def decline(request: HttpRequest, number: int) -> HttpResponse:
    """Say no, for good."""
    return _decide(request, number, services.decline, "You declined the release.")


@signed_in
@require_POST
def take_back(request: HttpRequest, number: int) -> HttpResponse:
    """Take back one's own decision."""
    return _act(
        request,
        number,
        lambda: services.take_back(actor=actor_of(request), number=number),
        "Your decision no longer counts.",
        "decide",
    )


@signed_in
@require_POST
def comment(request: HttpRequest, number: int) -> HttpResponse:
    """Say something in the discussion."""
    text = request.POST.get("text", "")
    try:
        made = services.comment(
            actor=actor_of(request),
            number=number,
            text=text,
            answers=request.POST.get("answers", ""),
        )
    except (Conflict, Denied, Invalid) as error:
        _say(request, error)
        return _back(number, "discussion")
    return _back(number, f"comment-{made.public_id}")


@signed_in
@require_POST
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    """Take the release back."""
    return _act(
        request,
        number,
        lambda: services.withdraw(
            actor=actor_of(request), number=number, reason=request.POST.get("reason", "")
        ),
        f"R-{number} is withdrawn. It stays readable.",
    )


@signed_in
@require_POST
def promote(request: HttpRequest, number: int) -> HttpResponse:
    """Propose the same in another environment, and go there."""
    place = request.POST.get("environment", "")
    try:
        made, new = services.promote(actor=actor_of(request), number=number, environment=place)
    except (Conflict, Denied, Invalid) as error:
        _say(request, error)
        return _back(number)
    messages.success(
        request,
        f"R-{made.number} proposes it for {place}; evidence that is still valid counts there."
        if new
        else f"R-{made.number} proposes exactly that already.",
    )
    return _back(made.number)


@signed_in
@require_POST
def roll_back(request: HttpRequest, number: int) -> HttpResponse:
    """Go back to what was live before, and watch it."""
    actor = actor_of(request)
    row = selectors.release(actor, number)
    try:
        made = services.roll_back(
            actor=actor,
            model=row.version.model.name,
            environment=row.environment.slug,
            reason=request.POST.get("reason", ""),
        )
    except (Conflict, Denied, Invalid) as error:
        _say(request, error)
        return _back(number, "back")
    messages.success(request, f"R-{made.number} goes back to v{made.version.number}.")
    return _back(made.number)


@signed_in
@require_POST
def review(request: HttpRequest, number: int) -> HttpResponse:
    """Close the review that an emergency owes."""
    return _act(
        request,
        number,
        lambda: services.review(
            actor=actor_of(request), number=number, text=request.POST.get("review", "")
        ),
        "The review is closed.",
        "back",
    )


@signed_in
@require_POST
def run_gate(request: HttpRequest, number: int, gate: str) -> HttpResponse:
    """Have a gate looked at again."""
    actor = actor_of(request)
    return _act(
        request,
        number,
        lambda: gates.run_gate_again(
            actor=actor, checklist=_checklist(actor, number, "gates.run"), gate=gate
        ),
        "It is looked at again; the page shows what comes of it.",
        _gate(gate),
    )


@signed_in
@require_POST
def waive_gate(request: HttpRequest, number: int, gate: str) -> HttpResponse:
    """Pass a gate without its evidence, for some days."""
    actor = actor_of(request)
    return _act(
        request,
        number,
        lambda: gates.grant_waiver(
            actor=actor,
            checklist=_checklist(actor, number, "gates.waive"),
            gate=gate,
            reason=request.POST.get("reason", ""),
            expires_at=_until(request.POST.get("days", "")),
        ),
        "The gate is waived, and everybody sees it.",
        _gate(gate),
    )


def _decide(
    request: HttpRequest, number: int, verb: Callable[..., object], done: str
) -> HttpResponse:
    """Decide about the digest that the reader saw.

    When it is not what would be shipped now, nothing is recorded, and the page comes back with
    409, with what has changed and what the reader had typed.
    """
    actor = actor_of(request)
    digest, reason = request.POST.get("digest", "")[:100], request.POST.get("reason", "")
    try:
        verb(actor=actor, number=number, digest=digest, reason=reason)
    except Conflict as error:
        return _refused(request, number, error, digest, reason)
    except Invalid as error:
        row = load(actor, number)
        kept = {"reason": reason, "reason_error": f"{error.sentence} {error.remedy}".strip()}
        return show(request, row, status=422, kept=kept)
    except Denied as error:
        _say(request, error)
        return _back(number, "decide")
    messages.success(request, done)
    return _back(number, "decide")


def _refused(
    request: HttpRequest, number: int, error: Conflict, digest: str, reason: str
) -> HttpResponse:
    row = load(actor_of(request), number)
    seen = Seen(actor_of(request), row, SystemClock().now())
    changes = changes_since(seen, digest) if error.code == STALE else []
    told = Changed(f"{error.sentence} {error.remedy}".strip(), changes)
    return show(request, row, status=409, changed=told, kept={"reason": reason})


def _act(
    request: HttpRequest,
    number: int,
    verb: Callable[[], object],
    done: str,
    section: str = "",
) -> HttpResponse:
    try:
        verb()
    except Missing:
        raise
    except ControlPlaneError as error:
        _say(request, error)
    else:
        messages.success(request, done)
    return _back(number, section)


def _checklist(actor: Actor, number: int, verb: str) -> str:
    row = selectors.release(actor, number)
    team, place = row.version.model.team.slug, row.environment.slug
    access.require(actor, verb, team=team, environment=place)
    if row.checklist is None:
        raise Conflict(
            f"The gates of R-{number} are not listed yet.",
            remedy="They are as soon as it is known which variant ships.",
            code="releases.no_checklist",
        )
    return row.checklist.public_id


def _until(days: str) -> datetime:
    if not (days.isascii() and days.isdigit() and len(days) <= LONGEST_DAYS):
        raise Invalid(
            f"{days[:20]!r} is not a number of days.",
            remedy="Write a whole number, such as 7.",
            field="days",
        )
    return SystemClock().now() + timedelta(days=int(days))


def _gate(gate: str) -> str:
    return "gate-" + gate[:80].replace(".", "-").replace("_", "-")


def _say(request: HttpRequest, error: ControlPlaneError) -> None:
    messages.error(request, f"{error.sentence} {error.remedy}".strip())


def _back(number: int, section: str = "") -> HttpResponseRedirect:
    return HttpResponseRedirect(f"/releases/{number}{f'#{section}' if section else ''}")
