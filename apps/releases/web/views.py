"""Pages of releases: the list, and the decision page of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from apps.approvals.domain import digestset
from apps.approvals.domain.digestset import Change
from apps.environments import selectors as environments
from apps.releases import selectors
from apps.releases.domain.difference.values import Row
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Release
from apps.releases.web import talk
from apps.releases.web.answer import answer
from apps.releases.web.back import back
from apps.releases.web.checks import checks
from apps.releases.web.deciding import deciding
from apps.releases.web.listing import TABS, counts, present, rows_of
from apps.releases.web.plan import plan
from apps.releases.web.seen import Seen, load
from apps.releases.web.track import stations
from controlplane.http.htmx import page
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import ControlPlaneError
from controlplane.kernel.figures import THIN

PAGE = 40
SAME = ("The same", "The same bytes")  # one line says all of these
PARTS = {
    "head": "releases/_release_head.html",
    "track": "releases/_release_track.html",
    "gates": "releases/_release_gates.html",
    "talk": "releases/_release_talk.html",
    "decision": "releases/_release_decision.html",
}
LIST_PARTS = {"list": "releases/_release_list.html"}


@dataclass(frozen=True)
class Changed:
    """Why an act was refused: something is not as the reader saw it.

    Attributes:
        sentence: What the service said.
        changes: Value by value, where that is known.
    """

    sentence: str
    changes: list[Change]


@signed_in
@require_GET
def releases(request: HttpRequest) -> HttpResponse:
    """List releases by what they wait for."""
    actor = actor_of(request)
    tab = request.GET.get("tab", "")
    tab = tab if tab in TABS else next(iter(TABS))
    filters = {key: request.GET.get(key, "").strip()[:140] for key in ("environment", "model")}
    found = cut(rows_of(actor, tab, **filters), limit=PAGE, cursor=request.GET.get("cursor", ""))
    chosen = {key: value for key, value in {"tab": tab, **filters}.items() if value}
    context = {
        "rows": present(found.rows),
        "slice": found,
        "tab": tab,
        "tabs": TABS,
        "counts": counts(actor),
        "filters": filters,
        "environments": environments.in_order(),
        "base": f"{urlencode(chosen)}&" if chosen else "",
        "empty": TABS[tab].empty,
        "topics": ["inbox", "release/*"],
    }
    return page(request, "releases/release_list.html", context, parts=LIST_PARTS)


@signed_in
@require_GET
def release(request: HttpRequest, number: int) -> HttpResponse:
    """Show one release; its parts look again by themselves."""
    return show(request, load(actor_of(request), number))


def show(
    request: HttpRequest,
    row: Release,
    *,
    status: int = 200,
    changed: Changed | None = None,
    kept: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Render the page of a release, or the part of it that htmx asks for.

    Args:
        request: From the reader.
        row: From `selectors.release`.
        status: 409 when an act was refused because something has changed.
        changed: What has.
        kept: What the reader had typed.
    """
    seen = Seen(actor_of(request), row, SystemClock().now())
    wanted = request.GET.get("part", "") if request.headers.get("HX-Request") else ""
    builders = [_PARTS[wanted]] if wanted in _PARTS else list(_PARTS.values())
    context = {**_frame(seen), "changed": changed, "kept": kept or {}}
    for build in builders:
        context |= build(seen)
    if wanted not in PARTS:
        context |= _rest(seen)
    return page(request, "releases/release.html", context, parts=PARTS, status=status)


def whole(seen: Seen) -> dict[str, Any]:
    """Return everything that the page of a release shows."""
    context = _frame(seen)
    for build in _PARTS.values():
        context |= build(seen)
    return context | _rest(seen)


def changes_since(seen: Seen, digest: str) -> list[Change]:
    """Return what differs between the request about `digest` and what would ship now."""
    before = next((r for r in seen.replaced.values() if r.digest == digest), None)
    try:
        now = seen.standing.sealed
    except ControlPlaneError:
        return []
    if before is None or now is None:
        return []
    return digestset.changes(before.content, now.content)


def _frame(seen: Seen) -> dict[str, Any]:
    row = seen.row
    checklist = row.checklist.public_id if row.checklist else ""
    return {
        "release": row,
        "version": row.version,
        "model": row.version.model,
        "environment": row.environment,
        "checklist_id": checklist,
        "can": _can(seen),
        "THIN": THIN,
        # The stream is asked for once: a checklist that is opened later is heard of all the same.
        "topics": [f"release/{row.public_id}", f"checklist/{checklist or '*'}"],
    }


def _head(seen: Seen) -> dict[str, Any]:
    return {"answer": answer(seen), "difference": seen.difference}


def _track(seen: Seen) -> dict[str, Any]:
    return {"stations": stations(seen)}


def _gates(seen: Seen) -> dict[str, Any]:
    found = checks(seen)
    cards = (
        [*found.eyes, *found.advice, *(c for g in found.groups for c in g.shown)] if found else []
    )
    return {"checks": found, "figures": any(c.figure for c in cards)}


def _talk(seen: Seen) -> dict[str, Any]:
    return {"items": talk.items(seen.row, seen.comments, seen.events, seen.people)}


def _decision(seen: Seen) -> dict[str, Any]:
    return {"deciding": deciding(seen)}


@dataclass(frozen=True)
class Compared:
    """One part of the difference on the page.

    Attributes:
        title: The heading.
        note: How the numbers came about.
        rows: What differs, or is not known.
        same: What does not differ, by name.
    """

    title: str
    note: str
    rows: list[Row]
    same: list[str]


def _compared(seen: Seen) -> list[Compared]:
    """Return the parts of the difference, with what is the same in one line each."""
    found = []
    for part in seen.difference.parts:
        same = [row for row in part.rows if row.meaning in SAME and not seen.difference.first]
        rows = [row for row in part.rows if row not in same]
        found.append(Compared(part.title, part.note, rows, [row.name for row in same]))
    return found


def _rest(seen: Seen) -> dict[str, Any]:
    return {"live": seen.live, "parts": _compared(seen), "plan": plan(seen), "back": back(seen)}


_PARTS: dict[str, Callable[[Seen], dict[str, Any]]] = {
    "head": _head,
    "track": _track,
    "gates": _gates,
    "talk": _talk,
    "decision": _decision,
}


def _can(seen: Seen) -> dict[str, Any]:
    """Return what the reader may do besides deciding."""
    row = seen.row
    mine = seen.actor.person_id is not None and seen.actor.person_id == row.proposer_id
    emergency = seen.rules.emergency.allowed if seen.rules and seen.waiting else False
    owes = row.review_due_at is not None and row.reviewed_at is None
    opened = seen.actor.name.split("/")[0] == row.emergency_by.split("/")[0]
    return {
        "comment": seen.may("releases.comment"),
        "revise": seen.waiting and row.returns_to_id is None and seen.may("releases.revise"),
        "withdraw": seen.waiting and (mine or seen.may("releases.withdraw")),
        "break_glass": emergency and not row.emergency_by and seen.may("releases.break_glass"),
        "review": owes and not opened and seen.may("releases.review"),
        "roll_back": seen.state is ReleaseState.LIVE
        and seen.may("releases.roll_back")
        and bool(selectors.ways_back(row, limit=1)),
        "promote": _promotions(seen),
    }


def _promotions(seen: Seen) -> list[Any]:
    """Return the environments after this one, where the reader may propose the same."""
    if seen.row.returns_to_id is not None or seen.row.variant_id is None:
        return []
    later = [e for e in environments.in_order() if e.rank > seen.row.environment.rank]
    return [e for e in later if seen.may("releases.propose")][:1]
