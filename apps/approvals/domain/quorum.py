"""Who must say yes, who has, and whether that is enough: pure.

A policy names seats, each open to some roles of some team. A person may fill one seat; people
who proposed the release or made the version fill none. A decision counts only when it is about
the digest that is asked about now.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controlplane.kernel.actor import Grant, Role


class Kind(StrEnum):
    """What somebody can say."""

    APPROVE = "approve"
    CHANGES = "changes"
    DECLINE = "decline"


class Verdict(StrEnum):
    """What all decisions together come to."""

    OPEN = "open"
    GRANTED = "granted"
    CHANGES = "changes"  # somebody asked for changes; nobody's yes outweighs that
    DECLINED = "declined"


@dataclass(frozen=True)
class Seat:
    """One yes that is needed.

    Attributes:
        title: What the policy calls it ("Owner's lead").
        roles: Any of these will do.
        team: The slug of the team in which the role must be held; None for any or no team.
    """

    title: str
    roles: frozenset[Role]
    team: str | None = None

    def accepts(self, grants: Collection[Grant], environment: str) -> bool:
        """Return whether somebody with `grants` may fill this seat.

        A role held everywhere counts in every team. Where the seat names no team, a role held
        within one team counts too.
        """
        return any(
            g.role in self.roles
            and (self.team is None or g.team in (None, self.team))
            and g.environment in (None, environment)
            for g in grants
        )


@dataclass(frozen=True)
class Vote:
    """One decision that is in force.

    Attributes:
        person: Whoever said it.
        seat_of: Whose grants it counts with: the person, or somebody they stand in for.
        grants: What `seat_of` holds now; a role taken away after the yes takes the yes away.
        kind: What was said.
        digest: What it was about.
        at: When; seats are filled in this order.
    """

    person: int
    seat_of: int
    grants: frozenset[Grant]
    kind: Kind
    digest: str
    at: datetime


@dataclass(frozen=True)
class Standing:
    """What has been decided.

    Attributes:
        verdict: What it comes to.
        filled: For each seat, in the policy's order, the person who fills it; None where empty.
    """

    verdict: Verdict
    filled: tuple[int | None, ...]

    @property
    def missing(self) -> int:
        """Return how many seats are empty."""
        return self.filled.count(None)


def standing(
    seats: Sequence[Seat],
    votes: Sequence[Vote],
    *,
    digest: str,
    excluded: Collection[int],
    environment: str,
) -> Standing:
    """Return what `votes` come to for a request about `digest`.

    Args:
        seats: What the policy asks for. With none, nothing needs to be asked: granted.
        votes: Decisions in force, at most one per person.
        digest: What is asked about now; a yes to anything else is no yes.
        excluded: People whose yes never counts: the proposer and the version's author. Neither
            does a yes on behalf of one of them.
        environment: Where it would happen.

    A single decline ends it, whoever of the judges says so. Two people can never fill one seat,
    and nobody fills two: seats are matched so that as many as possible are filled.
    """
    meant = [v for v in votes if v.digest == digest]
    approvals = sorted(
        (v for v in meant if v.kind is Kind.APPROVE and not {v.person, v.seat_of} & set(excluded)),
        key=lambda v: (v.at, v.person),
    )
    filled = _matched(seats, approvals, environment)
    kinds = {v.kind for v in meant}
    if Kind.DECLINE in kinds:
        return Standing(Verdict.DECLINED, filled)
    if Kind.CHANGES in kinds:
        return Standing(Verdict.CHANGES, filled)
    return Standing(Verdict.OPEN if None in filled else Verdict.GRANTED, filled)


def _matched(
    seats: Sequence[Seat], approvals: Sequence[Vote], environment: str
) -> tuple[int | None, ...]:
    """Fill as many seats as possible (Kuhn's algorithm for bipartite matching)."""
    holder: dict[int, int] = {}  # seat -> index of the approval
    taken = _one_per_person(approvals)

    def place(vote: int, tried: set[int]) -> bool:
        for index, seat in enumerate(seats):
            if index in tried or not seat.accepts(taken[vote].grants, environment):
                continue
            tried.add(index)
            if index not in holder or place(holder[index], tried):
                holder[index] = vote
                return True
        return False

    for vote in range(len(taken)):
        place(vote, set())
    return tuple(taken[holder[i]].person if i in holder else None for i in range(len(seats)))


def _one_per_person(approvals: Sequence[Vote]) -> list[Vote]:
    """Keep the first vote of everybody, and the first for everybody stood in for.

    Somebody who stands in for a colleague, and that colleague, are one yes: not two.
    """
    seen: set[int] = set()
    kept = []
    for vote in approvals:
        if not {vote.person, vote.seat_of} & seen:
            kept.append(vote)
        seen |= {vote.person, vote.seat_of}
    return kept
