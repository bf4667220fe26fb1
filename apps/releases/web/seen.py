"""Everything that the page of one release reads, each part once, with the reader's own eyes."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db.models import Prefetch

from apps.accounts.domain import access
from apps.accounts.models import Person
from apps.approvals import selectors as approvals
from apps.approvals.models import ApprovalRequest
from apps.approvals.selectors import RequestView
from apps.audit import selectors as ledger
from apps.audit.models import AuditEvent
from apps.endpoints.models import Revision
from apps.gates.domain.policy import PolicyDocument
from apps.gates.selectors import GateView
from apps.releases import difference, selectors
from apps.releases.domain.difference.values import Difference
from apps.releases.domain.states import RELEASE, WAITING, ReleaseState
from apps.releases.models import Comment, Release
from apps.releases.standing import Standing
from controlplane.kernel.actor import Actor, Grant
from controlplane.kernel.errors import ControlPlaneError

MOST_EVENTS = 200
# What a page names besides what a worker's pass reads, in the same query.
JOINED = (
    "proposer", "checklist__policy__environment", "request__environment", "request__team",
    "rollout__stable__version", "rollout__stable__variant",
    "rollout__stable__endpoint__model__team", "promoted_from", "returns_to",
)  # fmt: skip
MOST_COMMENTS = 500


def load(actor: Actor, number: int) -> Release:
    """Return one release with everything that its page names.

    Raises:
        Missing: There is none of that number, or the actor may not see it.
    """
    said = Comment.objects.select_related("person", "answers").order_by("id")
    rows = selectors.visible(actor).select_related(*JOINED).filter(number=number)
    row = rows.prefetch_related(Prefetch("comments", said)).first()
    return row if row is not None else selectors.release(actor, number)


@dataclass
class Seen:
    """One release, as one reader sees it at one moment.

    Attributes:
        actor: The reader.
        row: From `selectors.release`, with all that it joins.
        now: The moment.
    """

    actor: Actor
    row: Release
    now: datetime

    @cached_property
    def standing(self) -> Standing:
        """Return what a worker's pass would see."""
        return Standing(self.row, self.now)

    @cached_property
    def state(self) -> ReleaseState:
        """Return the release's state."""
        return ReleaseState(self.row.state)

    @cached_property
    def ended(self) -> bool:
        """Return whether nothing will happen to it any more."""
        return self.state in RELEASE.terminal()

    @cached_property
    def waiting(self) -> bool:
        """Return whether no traffic has moved and some still may."""
        return self.state in WAITING

    @cached_property
    def rules(self) -> PolicyDocument | None:
        """Return what the policy says: the one that the gates follow, or the one in force."""
        if self.standing.checklist is not None:
            return self.standing.checklist.document
        try:
            return self.standing.rules
        except ControlPlaneError:
            return None

    @cached_property
    def gates(self) -> tuple[GateView, ...]:
        """Return the gates in the policy's order; empty before they were listed."""
        return self.standing.checklist.gates if self.standing.checklist else ()

    @cached_property
    def request(self) -> RequestView | None:
        """Return the request for approval, in force or the last one."""
        return approvals.view(self.row.request) if self.row.request else None

    @cached_property
    def replaced(self) -> dict[str, ApprovalRequest]:
        """Return every request there was about this release, by its public id."""
        rows = approvals.of_subject(f"release/{self.row.public_id}")
        return {row.public_id: row for row in rows}

    @cached_property
    def live(self) -> Revision | None:
        """Return what answers without this release."""
        return difference.live_before(self.row)

    @cached_property
    def difference(self) -> Difference:
        """Return what would change."""
        return difference.between(self.actor, self.row, self.live, now=self.now)

    @cached_property
    def comments(self) -> list[Comment]:
        """Return what people said, oldest first."""
        return list(self.row.comments.all()[:MOST_COMMENTS])

    @cached_property
    def events(self) -> list[AuditEvent]:
        """Return what the ledger holds about it, oldest first."""
        if not access.allows(self.actor, "audit.read"):
            return []
        target = f"release/{self.row.public_id}"
        return ledger.of_target(target, limit=MOST_EVENTS)[::-1]

    @cached_property
    def people(self) -> list[Person]:
        """Return whoever is at hand without another query, for their names."""
        said = self.request.decisions if self.request else ()
        waived = [g.waiver.granted_by for g in self.gates if g.waiver is not None]
        found = [self.row.proposer, *(d.person for d in said), *waived]
        return [person for person in found if person is not None]

    @cached_property
    def stands_for(self) -> list[frozenset[Grant]]:
        """Return the reader's own grants, and those of people they stand in for now."""
        if self.actor.person_id is None:
            return [self.actor.grants]
        away = approvals.stood_in_for(self.actor.person_id, now=self.now)
        return [self.actor.grants, *(holder.grants for holder in away)]

    def may(self, verb: str) -> bool:
        """Return whether the reader may do `verb` to this release."""
        team, place = self.row.version.model.team.slug, self.row.environment.slug
        return access.allows(self.actor, verb, team=team, environment=place)
