"""Reading requests for approval: what they come to, who could still say yes, who is waited for."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q, QuerySet

from apps.accounts import selectors as accounts
from apps.accounts.domain import access
from apps.accounts.selectors import Holder
from apps.approvals.domain import quorum
from apps.approvals.domain.quorum import Kind, Seat, Standing, Verdict, Vote
from apps.approvals.domain.states import RequestState
from apps.approvals.models import ApprovalRequest, Decision, Delegation
from controlplane.kernel.actor import Actor, Grant, Role
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Missing

IN_FORCE = (RequestState.OPEN, RequestState.GRANTED)


@dataclass(frozen=True)
class SeatView:
    """One seat, for a page.

    Attributes:
        title: What the policy calls it.
        who: Which roles may fill it, in words ("a reviewer of team fraud").
        filled_by: Who has; None while it is empty.
        on_behalf_of: Whom they stood in for; None for themselves.
        at: When they said yes.
        reason: What convinced them.
        could: Who else could fill it, by name; empty when nobody can.
    """

    title: str
    who: str
    filled_by: Holder | None
    on_behalf_of: Holder | None
    at: datetime | None
    reason: str
    could: tuple[Holder, ...]


@dataclass(frozen=True)
class RequestView:
    """One request with everything a reviewer's page says about it.

    Attributes:
        row: The request.
        verdict: What the decisions come to, with the roles that people hold now.
        seats: In the policy's order.
        decisions: Those in force, oldest first.
    """

    row: ApprovalRequest
    verdict: Verdict
    seats: tuple[SeatView, ...]
    decisions: tuple[Decision, ...]

    @property
    def filled(self) -> int:
        """Return how many seats are filled."""
        return sum(seat.filled_by is not None for seat in self.seats)


def request(actor: Actor, public_id: str) -> ApprovalRequest:
    """Return one request.

    Raises:
        Missing: There is none of that id.
    """
    access.require(actor, "approvals.read")
    found = ApprovalRequest.objects.select_related("environment", "team")
    row = found.filter(public_id=public_id).first()
    if row is None:
        raise Missing(f"There is no request {public_id[:20]!r}.", code="approvals.missing")
    return row


def of_subject(subject: str) -> QuerySet[ApprovalRequest]:
    """Return every request about a subject, newest first, with its decisions."""
    found = ApprovalRequest.objects.select_related("environment", "team", "replaces")
    return found.prefetch_related(_said(all_of_them=True)).filter(subject=subject).order_by("-id")


def view(row: ApprovalRequest) -> RequestView:
    """Return what a request comes to now, and who could still fill its seats."""
    decisions = list(in_force(row))
    people = _people(decisions)
    seats = seats_of(row)
    votes = [_vote(d, people) for d in decisions]
    now = _standing(row, seats, votes)
    could = [
        h for h in accounts.holders(_roles(seats)) if h.pk not in {*row.excluded, *_spoken(votes)}
    ]
    by_person = {d.person_id: d for d in decisions}
    return RequestView(
        row=row,
        verdict=now.verdict,
        seats=tuple(
            _seat_view(row, seat, by_person.get(filler or 0), people, could)
            for seat, filler in zip(seats, now.filled, strict=True)
        ),
        decisions=tuple(decisions),
    )


def standing(row: ApprovalRequest) -> Standing:
    """Return what the decisions in force come to, with the roles that people hold now."""
    decisions = list(in_force(row))
    people = _people(decisions)
    return _standing(row, seats_of(row), [_vote(d, people) for d in decisions])


def in_force(row: ApprovalRequest) -> QuerySet[Decision]:
    """Return the decisions on a request that were not taken back, oldest first."""
    said = Decision.objects.select_related("person", "on_behalf_of")
    return said.filter(request=row, taken_back_at=None).order_by("id")


def seats_of(row: ApprovalRequest) -> tuple[Seat, ...]:
    """Return the seats that a request has to fill."""
    return tuple(
        Seat(s["title"], frozenset(Role(r) for r in s["roles"]), s["team"]) for s in row.seats
    )


def stood_in_for(person_id: int, *, now: datetime) -> list[Holder]:
    """Return those for whom somebody may decide now."""
    rows = Delegation.objects.filter(
        substitute=person_id, ended_at=None, starts_at__lte=now, ends_at__gt=now
    )
    found = accounts.holders_by_key(list(rows.values_list("person_id", flat=True)))
    return sorted(found.values(), key=lambda h: h.username)


def delegations(actor: Actor) -> QuerySet[Delegation]:
    """Return the delegations by or to the actor that have not ended, soonest first."""
    access.require(actor, "approvals.read")
    mine = Q(person=actor.person_id) | Q(substitute=actor.person_id)
    rows = Delegation.objects.select_related("person", "substitute")
    now = SystemClock().now()
    return rows.filter(mine, ended_at=None, ends_at__gt=now).order_by("starts_at", "id")


def waiting_for(actor: Actor) -> list[ApprovalRequest]:
    """Return the open requests in which the actor could fill an empty seat, oldest first.

    Those the actor has already decided on, proposed or made are left out.
    """
    if actor.person_id is None:
        return []
    now = SystemClock().now()
    stands_for = [actor.grants, *(h.grants for h in stood_in_for(actor.person_id, now=now))]
    rows = ApprovalRequest.objects.select_related("environment", "team").filter(
        state=RequestState.OPEN, expires_at__gt=now
    )
    open_rows = list(rows.prefetch_related(_said()).order_by("id"))
    people = _people(d for row in open_rows for d in row.said)  # type: ignore[attr-defined]  # prefetched
    return [row for row in open_rows if _waits(row, actor.person_id, stands_for, people)]


def waiting_count(actor: Actor) -> int:
    """Return how many requests wait for the actor."""
    return len(waiting_for(actor))


def may_fill(row: ApprovalRequest, grants: Collection[frozenset[Grant]]) -> bool:
    """Return whether somebody with any of these sets of grants could fill a seat."""
    slug = row.environment.slug
    return any(seat.accepts(g, slug) for seat in seats_of(row) for g in grants)


def _waits(
    row: ApprovalRequest,
    person: int,
    stands_for: Sequence[frozenset[Grant]],
    people: dict[int, Holder],
) -> bool:
    said: list[Decision] = row.said  # type: ignore[attr-defined]  # prefetched
    if person in row.excluded or any(d.person_id == person for d in said):
        return False
    seats = seats_of(row)
    filled = _standing(row, seats, [_vote(d, people) for d in said]).filled
    slug = row.environment.slug
    return any(
        holder is None and any(seat.accepts(grants, slug) for grants in stands_for)
        for seat, holder in zip(seats, filled, strict=True)
    )


def _standing(row: ApprovalRequest, seats: Sequence[Seat], votes: Sequence[Vote]) -> Standing:
    return quorum.standing(
        seats, votes, digest=row.digest, excluded=row.excluded, environment=row.environment.slug
    )


def _vote(decision: Decision, people: dict[int, Holder]) -> Vote:
    seat_of = decision.on_behalf_of_id or decision.person_id
    holder = people.get(seat_of)
    return Vote(
        person=decision.person_id,
        seat_of=seat_of,
        grants=holder.grants if holder else frozenset(),
        kind=Kind(decision.kind),
        digest=decision.digest,
        at=decision.created_at,
    )


def _people(decisions: Iterable[Decision]) -> dict[int, Holder]:
    keys = {k for d in decisions for k in (d.person_id, d.on_behalf_of_id) if k is not None}
    return accounts.holders_by_key(keys) if keys else {}


def _spoken(votes: Iterable[Vote]) -> set[int]:
    return {v.person for v in votes}


def _roles(seats: Iterable[Seat]) -> set[Role]:
    return {role for seat in seats for role in seat.roles}


def _seat_view(
    row: ApprovalRequest,
    seat: Seat,
    decision: Decision | None,
    people: dict[int, Holder],
    could: Sequence[Holder],
) -> SeatView:
    slug = row.environment.slug
    return SeatView(
        title=seat.title,
        who=words(seat),
        filled_by=people.get(decision.person_id) if decision else None,
        on_behalf_of=people.get(decision.on_behalf_of_id or 0) if decision else None,
        at=decision.created_at if decision else None,
        reason=decision.reason if decision else "",
        could=() if decision else tuple(h for h in could if seat.accepts(h.grants, slug)),
    )


def words(seat: Seat) -> str:
    """Return who may fill a seat: "a reviewer of team fraud"."""
    roles = " or ".join(sorted(str(r) for r in seat.roles))
    article = "an" if roles[:1] in "aeiou" else "a"
    return f"{article} {roles}" + (f" of team {seat.team}" if seat.team else "")


def _said(*, all_of_them: bool = False) -> "Prefetch[str, QuerySet[Decision], str]":
    rows = Decision.objects.select_related("person", "on_behalf_of").order_by("id")
    if not all_of_them:
        rows = rows.filter(taken_back_at=None)
    return Prefetch("decisions", queryset=rows, to_attr="said")
