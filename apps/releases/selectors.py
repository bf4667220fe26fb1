"""Reading releases: lists, one release, and what is missing of it and who can do it."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q, QuerySet

from apps.accounts.domain import access
from apps.approvals import selectors as approvals
from apps.approvals.domain.states import RequestState
from apps.registry import selectors as registry
from apps.releases.domain.journey import Ground
from apps.releases.domain.states import RELEASE, WAITING, ReleaseState
from apps.releases.models import Comment, Release
from apps.releases.standing import Standing
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Missing

ENDED = sorted(str(s) for s in RELEASE.terminal())
OPEN = [*(str(s) for s in WAITING), str(ReleaseState.ROLLING_OUT)]
# No more than this: PostgreSQL plans a dozen joins for longer than it takes to run them.
WHOLE = ("version__model__team", "environment", "variant", "checklist", "request", "rollout")


@dataclass(frozen=True)
class MissingPart:
    """One thing that a release still needs.

    Attributes:
        what: One sentence.
        who: Who can do it, in words; "" for nobody: a worker is at it, or time is.
        part: Which section of the release's page has it ("gates", "decide", "plan", "build").
    """

    what: str
    who: str
    part: str


def visible(actor: Actor) -> QuerySet[Release]:
    """Return the releases that `actor` may see."""
    access.require(actor, "releases.read")
    models = registry.visible_models(actor).values("id")
    return Release.objects.select_related(*WHOLE).filter(version__model__in=models)


def releases(
    actor: Actor, *, state: str = "", model: str = "", environment: str = "", q: str = ""
) -> QuerySet[Release]:
    """Return releases, newest first.

    Args:
        actor: Who asks.
        state: A state; "open" for those under way, "ended" for those that came to an end.
        model: A model's name.
        environment: An environment's slug.
        q: Part of a model's name, or "R-12".
    """
    rows = visible(actor)
    if state == "open":
        rows = rows.filter(state__in=OPEN)
    elif state == "ended":
        rows = rows.filter(state__in=ENDED)
    elif state:
        rows = rows.filter(state=state)
    if model:
        rows = rows.filter(version__model__name=model)
    if environment:
        rows = rows.filter(environment__slug=environment)
    if q:
        rows = rows.filter(_like(q))
    return rows.order_by("-number")


def release(actor: Actor, number: int) -> Release:
    """Return one release, with its discussion.

    Raises:
        Missing: There is none of that number, or the actor may not see it.
    """
    said = Prefetch("comments", Comment.objects.select_related("person", "answers").order_by("id"))
    row = visible(actor).prefetch_related(said).filter(number=number).first()
    if row is None:
        raise _no_release(number)
    return row


def comments(actor: Actor, number: int) -> QuerySet[Comment]:
    """Return what was said about a release, oldest first.

    Raises:
        Missing: There is none of that number, or the actor may not see it.
    """
    row = release(actor, number)
    return Comment.objects.select_related("answers").filter(release=row).order_by("id")


def of_version(version_id: int, *, limit: int = 20) -> list[Release]:
    """Return the releases of a version, newest first; the caller may see the version."""
    rows = Release.objects.select_related("environment", "variant", "rollout", "version__model")
    return list(rows.filter(version=version_id).order_by("-number")[:limit])


def live(model_id: int, environment_id: int) -> Release | None:
    """Return the release that is live at an endpoint, if one is."""
    rows = Release.objects.select_related(*WHOLE).filter(
        version__model=model_id, environment=environment_id, state=ReleaseState.LIVE
    )
    return rows.order_by("-number").first()


def ways_back(row: Release, *, limit: int = 5) -> list[Release]:
    """Return the releases one may go back to, latest first: they were live here and approved."""
    rows = Release.objects.select_related(*WHOLE).filter(
        version__model=row.version.model_id, environment=row.environment_id,
        state=ReleaseState.SUPERSEDED, live_at__isnull=False, number__lt=row.number,
        emergency_by="", returns_to=None,
    )  # fmt: skip
    return list(rows.order_by("-live_at", "-id")[:limit])


def waiting_for(actor: Actor) -> list[Release]:
    """Return the releases on which the actor could fill an empty seat, oldest first."""
    requests = [row.pk for row in approvals.waiting_for(actor)]
    rows = visible(actor).filter(request__in=requests, state=ReleaseState.AWAITING_APPROVAL)
    return list(rows.order_by("number"))


def mine_with_changes(actor: Actor) -> list[Release]:
    """Return the actor's own open releases for which somebody asked for changes, oldest first."""
    said = Q(request__decisions__kind="changes", request__decisions__taken_back_at=None)
    rows = visible(actor).filter(said, proposer=actor.person_id, request__state=RequestState.OPEN)
    return list(rows.filter(state__in=[str(s) for s in WAITING]).distinct().order_by("number"))


def reviews_due(actor: Actor) -> list[Release]:
    """Return the releases that broke the glass and still owe their review, soonest first."""
    rows = visible(actor).filter(review_due_at__isnull=False, reviewed_at=None)
    return list(rows.order_by("review_due_at", "id"))


def standing(row: Release, *, now: datetime | None = None) -> Standing:
    """Return how a release stands; the caller may see it."""
    return Standing(row, now or SystemClock().now())


def missing(row: Release, stands: Standing | None = None) -> list[MissingPart]:
    """Return what a release still needs before it moves traffic, and who can do it."""
    if row.state not in WAITING:
        return []
    at = stands or standing(row)
    if row.variant is None:
        return [_build(row)]
    if at.ground in (Ground.EMERGENCY, Ground.ROLL_BACK):
        return []
    found = _gates(at) + _approval(at)
    if not found and not at.opening.open:
        found.append(MissingPart(at.opening.reason, "", "plan"))
    if not found and at.facts.endpoint_busy:
        found.append(MissingPart("Another rollout has to end first.", "", "plan"))
    return found


def _build(row: Release) -> MissingPart:
    stands = standing(row).facts.build
    words = {
        "running": ("The version is being built.", ""),
        "failed": ("No variant of this version may be released.", "whoever may build it again"),
        "none": ("The version has not been built.", "whoever may build it"),
        "ready": ("A variant is about to be chosen.", ""),
    }
    what, who = words[stands.value]
    return MissingPart(row.problem or what, who, "build")


def _gates(at: Standing) -> list[MissingPart]:
    if at.checklist is None:
        return [MissingPart("Its gates are about to be listed.", "", "gates")]
    return [
        MissingPart(f"{view.title}: {view.state}. {view.sentence}", view.remedy, "gates")
        for view in at.checklist.blocking
    ]


def _approval(at: Standing) -> list[MissingPart]:
    if at.ground is Ground.NOBODY:
        return []
    request = at.row.request
    if request is None or request.state not in approvals.IN_FORCE:
        seats = at.rules.approvals.seats
        wanted = ", ".join(seat.title for seat in seats)
        return [MissingPart(f"Approval by: {wanted}.", wanted, "decide")]
    return [
        MissingPart(
            f"{seat.title} has not approved.",
            ", ".join(h.title for h in seat.could[:5]) or f"{seat.who}: nobody holds that role",
            "decide",
        )
        for seat in approvals.view(request).seats
        if seat.filled_by is None
    ]


def _like(q: str) -> Q:
    number = q.strip().lower().removeprefix("r-")
    by_name = Q(version__model__name__icontains=q.strip())
    return by_name | Q(number=int(number)) if number.isdigit() and len(number) < 9 else by_name


def _no_release(number: int) -> Missing:
    return Missing(
        f"There is no release R-{number}.",
        remedy="The page of releases lists those that you may see.",
        code="releases.missing",
    )
