"""The decision: what exactly is signed, who has, who could, and why the reader may or may not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from apps.approvals.domain.quorum import Verdict
from apps.approvals.models import Decision as Said
from apps.approvals.selectors import RequestView, SeatView, may_fill
from apps.releases.domain.states import ReleaseState
from apps.releases.web.seen import Seen
from controlplane.kernel.errors import ControlPlaneError

PARTS = {
    "manifest": "Artifact",
    "variant": "Variant",
    "bundle": "Bundle",
    "configuration": "Configuration",
    "policy": "Policy",
    "gates": "Evidence",
    "strategy": "Strategy",
}
MOST_NAMED = 3
WORDS = {"approve": "Approved", "changes": "Asked for changes", "decline": "Declined"}
STATES = {"approve": "granted", "changes": "changes_requested", "decline": "declined"}


@dataclass(frozen=True)
class Seat:
    """One approval that is needed.

    Attributes:
        name: Who filled it, or what the policy calls the seat.
        note: When they did, or who could.
        state: Whose tone its badge takes.
        reason: What convinced them.
    """

    title: str
    name: str
    note: str
    state: str
    word: str
    empty: bool
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True)
class Deciding:
    """The aside of the page.

    Attributes:
        title: Its heading: the reader's decision, or the release's.
        digest: Of the whole set; "" while there is none.
        parts: What it covers: a name and a digest each.
        seats: In the policy's order.
        others: Decisions that fill no seat: changes asked for, a decline.
        open: Whether somebody can decide now.
        may: Whether the reader can.
        why_not: Why not; "" when they can.
        said: What the reader has decided; None for nothing.
        next: What happens if the reader approves.
        note: What stands instead of seats.
        expires_at: When the request does.
    """

    title: str
    digest: str
    parts: list[tuple[str, str]]
    seats: list[Seat]
    others: list[Said]
    open: bool
    may: bool
    why_not: str
    said: Said | None
    next: str
    note: str
    expires_at: datetime | None


def deciding(seen: Seen) -> Deciding:
    """Return the decision as the reader sees it."""
    view = seen.request
    waits = seen.state is ReleaseState.AWAITING_APPROVAL and view is not None
    why_not = _why_not(seen, view)
    digest, parts = _digests(seen)
    return Deciding(
        title="Your decision" if waits and not why_not else "The decision",
        digest=digest,
        parts=[(_label(seen, name), parts[name]) for name in sorted(parts, key=_place)],
        seats=[_seat(seat) for seat in view.seats] if view else _empty_seats(seen),
        others=[d for d in view.decisions if d.kind != "approve"] if view else [],
        open=waits and view is not None and view.row.state == "open",
        may=not why_not,
        why_not=why_not,
        said=_said(seen, view),
        next=_next(seen, view),
        note=_note(seen, view),
        expires_at=view.row.expires_at if view and view.row.state == "open" else None,
    )


def _digests(seen: Seen) -> tuple[str, Mapping[str, str]]:
    """Return what is asked about, or was shipped, or would be asked about."""
    if seen.request is not None and seen.waiting:
        return seen.request.row.digest, seen.request.row.digest_set
    if seen.row.digest:
        return seen.row.digest, seen.row.digest_set
    try:
        sealed = seen.standing.sealed if seen.waiting else None
    except ControlPlaneError:
        sealed = None
    return (sealed.digest, sealed.parts) if sealed else ("", {})


def _place(name: str) -> tuple[int, str]:
    order = list(PARTS)
    return (order.index(name) if name in order else len(order), name)


def _label(seen: Seen, name: str) -> str:
    title = PARTS.get(name, name.capitalize())
    if name == "variant" and seen.row.variant is not None:
        return f"{title}, {seen.row.variant.kind}"
    if name == "gates" and seen.gates:
        required = sum(1 for g in seen.gates if g.required)
        return f"{title}, {required} gate{'' if required == 1 else 's'}"
    return title


def _why_not(seen: Seen, view: RequestView | None) -> str:
    """Return why the reader cannot decide; "" when they can."""
    if view is None or not seen.waiting:
        return "There is nothing to decide."
    if seen.state is not ReleaseState.AWAITING_APPROVAL:
        return "It is not asked for at the moment: something has to be checked again."
    if view.row.expires_at <= seen.now:
        return "The request has expired."
    person = seen.actor.person_id
    if person is None:
        return "Only a person decides."
    if person == seen.row.proposer_id:
        return "You proposed this release, so your yes does not count."
    if person in view.row.excluded:
        return "You made this version, so your yes does not count."
    if not may_fill(view.row, seen.stands_for):
        missing = [s.who for s in view.seats if s.filled_by is None] or [s.who for s in view.seats]
        return f"It needs {' and '.join(dict.fromkeys(missing))}."
    return ""


def _said(seen: Seen, view: RequestView | None) -> Said | None:
    if view is None:
        return None
    return next((d for d in view.decisions if d.person_id == seen.actor.person_id), None)


def _seat(seat: SeatView) -> Seat:
    if seat.filled_by is None:
        return Seat(seat.title, seat.title, _could(seat), "awaiting_approval", "Waiting", True)
    behalf = f" for {seat.on_behalf_of.title}" if seat.on_behalf_of else ""
    return Seat(
        title=seat.title,
        name=f"{seat.filled_by.title}{behalf}",
        note=seat.title,
        state="granted",
        word="Approved",
        empty=False,
        at=seat.at,
        reason=seat.reason,
    )


def _could(seat: SeatView) -> str:
    if not seat.could:
        return f"{seat.who}: nobody holds that role"
    named = ", ".join(holder.title for holder in seat.could[:MOST_NAMED])
    more = len(seat.could) - MOST_NAMED
    return named + (f" or one of {more} others" if more > 1 else " or one other" if more else "")


def _empty_seats(seen: Seen) -> list[Seat]:
    """Return the seats that will be asked for, before they are."""
    if not seen.waiting or seen.rules is None or seen.row.emergency_by or seen.row.returns_to_id:
        return []
    return [
        Seat(
            seat.title,
            seat.title,
            " or ".join(str(r) for r in seat.roles),
            "pending",
            "Later",
            True,
        )
        for seat in seen.rules.approvals.seats
    ]


def _note(seen: Seen, view: RequestView | None) -> str:
    if seen.row.emergency_by:
        return f"{seen.row.emergency_by} broke the glass: nobody approved this."
    if seen.row.returns_to_id is not None:
        return "It takes up again what was approved before. Going back needs no approval."
    if view is not None:
        return ""
    if seen.rules is not None and not seen.rules.approvals.seats:
        return "The policy of this environment asks for nobody's approval."
    if seen.waiting:
        return "Approval is asked for once every required gate is passed or waived."
    return "Nobody was asked to approve it."


def _next(seen: Seen, view: RequestView | None) -> str:
    if view is None:
        return ""
    left = len(view.seats) - view.filled - 1
    if left > 0:
        more = "one more approval is" if left == 1 else f"{left} more approvals are"
        return f"nothing moves yet: {more} needed."
    if view.verdict is Verdict.CHANGES:
        return "nothing moves yet: somebody has asked for changes."
    opening = seen.standing.opening
    replicas = seen.row.replicas
    start = "its replica starts" if replicas == 1 else f"its {replicas} replicas start"
    if opening.open:
        return f"{start} at once. All traffic moves when golden requests are answered."
    when = f"{opening.next_opening:%-d %b, %H:%M}" if opening.next_opening else "it opens"
    return f"nothing moves before {when}. {opening.reason}"
