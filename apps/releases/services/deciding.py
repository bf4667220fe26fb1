"""Deciding on a release, and talking about it."""

from django.db import transaction

from apps.accounts.domain import access
from apps.approvals import selectors as approved
from apps.approvals import services as approvals
from apps.approvals.domain.quorum import Kind
from apps.releases import selectors, standing, telling
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Comment, Release
from apps.releases.services import common
from controlplane.db.live import announce
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid


def approve(*, actor: Actor, number: int, digest: str, reason: str = "") -> Release:
    """Say yes to exactly the digest set that was shown.

    Raises:
        Denied: The actor fills no seat, or proposed it, or made the version.
        Missing: There is no such release.
        Conflict: It waits for nobody's approval, or has changed since it was shown.
    """
    return _decide(actor, number, Kind.APPROVE, digest, reason)


def request_changes(*, actor: Actor, number: int, digest: str, reason: str) -> Release:
    """Ask the proposer to change something; it stays open, and nothing can grant it meanwhile.

    Raises:
        Invalid: No reason is given; and as `approve`.
    """
    return _decide(actor, number, Kind.CHANGES, digest, reason)


def decline(*, actor: Actor, number: int, digest: str, reason: str) -> Release:
    """Say no, for good.

    Raises:
        Invalid: No reason is given; and as `approve`.
    """
    return _decide(actor, number, Kind.DECLINE, digest, reason)


@transaction.atomic
def take_back(*, actor: Actor, number: int, reason: str = "") -> Release:
    """Take back one's own decision, while nothing has begun by it.

    Raises:
        Missing: There is no such release, or the actor has decided nothing.
        Conflict: It has begun to move traffic, or has ended.
    """
    seen = _allowed_to_decide(actor, number)
    with commanding(Release, seen.pk, now=SystemClock().now()) as row:
        common.refuse_moving(row)
        if row.request is None:
            raise _waits_for_nobody(row)
        approvals.take_back(actor=actor, request=row.request.public_id, reason=reason)
    common.changed(row)
    return selectors.release(actor, number)


@transaction.atomic
def comment(*, actor: Actor, number: int, text: str, answers: str = "") -> Comment:
    """Say something in the discussion; @name tells that person.

    Raises:
        Denied: The actor may not.
        Missing: There is no such release.
        Invalid: There is nothing to say, or too much.
    """
    row = common.allowed(actor, "releases.comment", number)
    said = text.strip()
    if not said:
        raise Invalid("The comment is empty.", remedy="Write something.", field="text")
    if len(said) > common.LONGEST_TEXT:
        raise Invalid(
            f"The comment has {len(said)} characters; at most {common.LONGEST_TEXT} fit.",
            remedy="Make it shorter, or link to a document.",
            field="text",
        )
    made = Comment.objects.create(
        release=row, person_id=actor.person_id, by=actor.name, text=said,
        answers=row.comments.filter(public_id=answers).first() if answers else None,
    )  # fmt: skip
    common.tell(actor, "comment", row, after={"comment": made.public_id})
    telling.commented(row, actor.name, said, people=_taking_part(row) - {actor.person_id or 0})
    announce(f"release/{row.public_id}")
    return made


def _decide(actor: Actor, number: int, kind: Kind, digest: str, reason: str) -> Release:
    """Decide, with the release locked: a worker in the middle of a pass writes nothing."""
    with transaction.atomic():
        seen = _allowed_to_decide(actor, number)
        now = SystemClock().now()
        with commanding(Release, seen.pk, now=now) as row:
            if row.request is None or row.state not in (
                ReleaseState.AWAITING_APPROVAL,
                ReleaseState.AUTHORIZED,
            ):
                raise _waits_for_nobody(row)
            _refuse_stale(standing.Standing(row, now), digest)
            approvals.decide(
                actor=actor, request=row.request.public_id, kind=kind, digest=digest,
                reason=reason,
            )  # fmt: skip
            telling.decided(row, kind, actor.name, reason)
        common.changed(row)
    return selectors.release(actor, number)


def _allowed_to_decide(actor: Actor, number: int) -> Release:
    """Return the release, for somebody who may decide, or stands in for somebody who may."""
    row = selectors.release(actor, number)
    now = SystemClock().now()
    if actor.person_id is None or not approved.stood_in_for(actor.person_id, now=now):
        team, slug = row.version.model.team.slug, row.environment.slug
        access.require(actor, "approvals.decide", team=team, environment=slug)
    return row


def _refuse_stale(at: standing.Standing, digest: str) -> None:
    """Refuse a decision about what would no longer be shipped, whether or not a pass has seen it.

    The pass that voids the request comes a moment later.
    """
    now = at.sealed.digest if at.sealed else ""
    if digest != now:
        raise Conflict(
            f"R-{at.row.number} has changed: what you saw was {digest[:19] or 'nothing'}, and "
            f"what would be shipped now is {now[:19]}.",
            remedy="Look at what changed, and decide again.",
            field="digest",
            code="approvals.changed",
        )


def _waits_for_nobody(row: Release) -> Conflict:
    return Conflict(
        f"R-{row.number} is {row.state.replace('_', ' ')}: it waits for nobody's decision.",
        remedy="Its page says what is missing, and who can do it.",
        code="releases.not_waiting",
    )


def _taking_part(row: Release) -> set[int]:
    said = row.comments.exclude(person=None).values_list("person_id", flat=True)
    decided = row.request.decisions.values_list("person_id", flat=True) if row.request else []
    return {
        *(key for key in said if key),
        *decided,
        *([row.proposer_id] if row.proposer_id else []),
    }
