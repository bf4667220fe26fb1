"""The inbox: what waits for the reader. One row, one thing, one verb."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from apps.accounts.domain import access
from apps.approvals import selectors as approvals
from apps.approvals import waiting
from apps.gates import selectors as gates
from apps.gates.models import Waiver
from apps.releases import selectors
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Release
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock

MOST = 50  # of each kind on the page; the list of releases has them all
SOON = timedelta(days=3)
PARTS = {"list": "releases/_inbox.html"}


@dataclass(frozen=True)
class Item:
    """One thing that waits.

    Attributes:
        state: Whose tone it takes.
        what: The thing.
        why: Why it waits for the reader, in a sentence.
        verb: What to do.
        href: Where.
        due: Until when; None for whenever.
        primary: Whether the verb is the one that this inbox is for.
    """

    state: str
    what: str
    why: str
    verb: str
    href: str
    due: datetime | None = None
    primary: bool = False


@dataclass(frozen=True)
class Group:
    """Things of one kind.

    Attributes:
        total: How many there are, also those that are not shown.
    """

    key: str
    title: str
    items: list[Item]
    total: int


@signed_in
@require_GET
def inbox(request: HttpRequest) -> HttpResponse:
    """Show what waits for the reader."""
    actor = actor_of(request)
    now = SystemClock().now()
    found = groups(actor, now)
    context: dict[str, Any] = {
        "groups": found,
        "total": sum(group.total for group in found),
        "delegations": approvals.delegations(actor),
        "me": actor.person_id,
        "may_delegate": access.allows(actor, "approvals.delegate"),
        "now": now,
        "topics": ["inbox"],
    }
    return page(request, "releases/inbox.html", context, parts=PARTS)


def groups(actor: Actor, now: datetime) -> list[Group]:
    """Return what waits, by kind; a kind with nothing in it is left out."""
    found = [to_decide(actor), _changes(actor), _reviews(actor, now), _waivers(actor, now)]
    return [group for group in found if group.items]


def to_decide(actor: Actor, *, limit: int = MOST) -> Group:
    """Return the releases that wait for the actor's decision, the first to expire first."""
    if not access.allows(actor, "releases.read"):
        return Group("approve", "", [], 0)
    keys = waiting.requests(actor)
    rows = selectors.visible(actor).filter(request__in=keys, state=ReleaseState.AWAITING_APPROVAL)
    shown = list(rows.order_by("request__expires_at", "id")[:limit])
    total = len(keys) if len(shown) == limit else len(shown)
    return Group("approve", "To decide", [_approval(row) for row in shown], total)


def _approval(row: Release) -> Item:
    seats = len(row.request.seats) if row.request else 0
    needs = "one approval" if seats == 1 else f"{seats} approvals"
    why = f"Proposed by {row.proposed_by}; it needs {needs}."
    summary = f" “{row.summary[:140]}”" if row.summary else ""
    return Item(
        state="awaiting_approval",
        what=_name(row),
        why=why + summary,
        verb="Decide",
        href=f"/releases/{row.number}#decide",
        due=row.request.expires_at if row.request else None,
        primary=True,
    )


def _changes(actor: Actor) -> Group:
    rows = selectors.mine_with_changes(actor)
    items = [
        Item(
            "changes_requested",
            _name(row),
            "Somebody asked you for changes.",
            "Look",
            f"/releases/{row.number}#decide",
        )
        for row in rows[:MOST]
    ]
    return Group("changes", "Changes asked of you", items, len(rows))


def _reviews(actor: Actor, now: datetime) -> Group:
    """Return the reviews that the reader may write: not of an emergency of their own."""
    mine = actor.name.split("/")[0]
    rows = [
        row
        for row in selectors.reviews_due(actor)
        if row.emergency_by.split("/")[0] != mine
        and access.allows(
            actor,
            "releases.review",
            team=row.version.model.team.slug,
            environment=row.environment.slug,
        )
    ]
    items = [_review(row, now) for row in rows[:MOST]]
    return Group("reviews", "Reviews that are owed", items, len(rows))


def _review(row: Release, now: datetime) -> Item:
    late = row.review_due_at is not None and row.review_due_at < now
    return Item(
        state="failed" if late else "warning",
        what=_name(row),
        why=f"{row.emergency_by} shipped it without approval: “{row.emergency_reason[:140]}”",
        verb="Write the review",
        href=f"/releases/{row.number}#back",
        due=row.review_due_at,
    )


def _waivers(actor: Actor, now: datetime) -> Group:
    """Return the waivers that end soon, granted by the reader or used by a release of theirs."""
    if actor.person_id is None:
        return Group("waivers", "", [], 0)
    mine = Q(granted_by=actor.person_id) | Q(checklist__release__proposer=actor.person_id)
    rows = list(
        gates.waivers(actor, in_force=True)
        .filter(mine, expires_at__lte=now + SOON, checklist__closed_at=None)
        .select_related("checklist__release")
        .order_by("expires_at", "id")[:MOST]
    )
    items = [item for row in rows if (item := _waiver(row)) is not None]
    return Group("waivers", "Waivers that end soon", items, len(items))


def _waiver(row: Waiver) -> Item | None:
    release: Release | None = getattr(row.checklist, "release", None)
    if release is None:
        return None
    return Item(
        state="waived",
        what=f"{row.gate} of R-{release.number}",
        why=f"Waived by {row.granted_by.username}: “{row.reason[:140]}”",
        verb="Look",
        href=f"/releases/{release.number}#gates",
        due=row.expires_at,
    )


def _name(row: Release) -> str:
    model = row.version.model.name
    return f"R-{row.number}: {model} v{row.version.number} to {row.environment.slug}"
