"""Telling people about a release: who needs to know what, in which words."""

import re
from collections.abc import Collection, Sequence

from apps.accounts import selectors as accounts
from apps.approvals import services as approvals
from apps.approvals.domain.digestset import Change
from apps.approvals.models import ApprovalRequest
from apps.notifications.services import notify
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Release

MENTION = re.compile(r"(?<![\w@/])@([\w.+-]{1,60})")
SAID = {
    ReleaseState.AUTHORIZED: ("release.authorized", "{} may roll out"),
    ReleaseState.LIVE: ("release.live", "{} is live"),
    ReleaseState.ROLLED_BACK: ("release.failed", "{} went back"),
    ReleaseState.DECLINED: ("release.declined", "{} was declined"),
    ReleaseState.EXPIRED: ("release.declined", "{} expired"),
    ReleaseState.SUPERSEDED: ("release.declined", "{} was superseded"),
}


def subject(row: Release) -> str:
    """Return what a person calls a release: "R-12: card-fraud-score v42 to production"."""
    model, number = row.version.model.name, row.version.number
    return f"R-{row.number}: {model} v{number} to {row.environment.slug}"


def link(row: Release) -> str:
    """Return the path of a release's page."""
    return f"/releases/{row.number}"


def moved(row: Release, state: ReleaseState, *, reason: str = "") -> None:
    """Tell the proposer and the owning team what came of a release."""
    if state not in SAID:
        return
    kind, words = SAID[state]
    notify(
        kind=kind, title=words.format(subject(row)), body=reason, link=link(row),
        people=_proposer(row), teams=[row.version.model.team_id],
        dedupe=f"release/{row.public_id}/{state}/{row.digest[:19]}",
    )  # fmt: skip


def waits(row: Release, request: ApprovalRequest) -> None:
    """Tell everybody who could approve that a release waits for them."""
    notify(
        kind="release.waits_for_you", title=f"{subject(row)} waits for your decision",
        body=row.summary, link=link(row), people=_could(request),
        channels_of=[row.version.model.team_id], dedupe=f"request/{request.public_id}",
    )  # fmt: skip


def waits_again(row: Release, request: ApprovalRequest) -> None:
    """Remind those who could approve and have not."""
    notify(
        kind="release.reminder", title=f"{subject(row)} still waits for your decision",
        body=f"It expires at {request.expires_at:%Y-%m-%d %H:%M} UTC.", link=link(row),
        people=_could(request), dedupe=f"request/{request.public_id}/reminder",
    )  # fmt: skip


def voided(row: Release, changes: Sequence[Change]) -> None:
    """Tell the proposer and those who had approved that their yes is void, and why."""
    request = row.request
    said = list(request.decisions.values_list("person_id", flat=True)) if request else []
    notify(
        kind="release.voided", title=f"{subject(row)}: what was approved has changed",
        body="\n".join(change.sentence for change in changes), link=link(row),
        people={*said, *_proposer(row)},
        dedupe=f"request/{request.public_id if request else row.public_id}/voided",
    )  # fmt: skip


def decided(row: Release, kind: str, by: str, reason: str) -> None:
    """Tell the proposer what somebody decided."""
    words = {"approve": "approved", "changes": "asks for changes to", "decline": "declined"}[kind]
    key = "release.approved" if kind == "approve" else "release.changes_requested"
    notify(
        kind="release.declined" if kind == "decline" else key,
        title=f"{by} {words} {subject(row)}", body=reason, link=link(row),
        people=_proposer(row),
    )  # fmt: skip


def commented(row: Release, by: str, text: str, *, people: Collection[int]) -> None:
    """Tell those who take part in the discussion, and those who are mentioned."""
    mentioned = set(mentions(text))
    title = f"{by} on {subject(row)}"
    notify(
        kind="release.mentioned", title=title, body=text, link=f"{link(row)}#discussion",
        people=mentioned,
    )  # fmt: skip
    notify(
        kind="release.commented", title=title, body=text, link=f"{link(row)}#discussion",
        people=set(people) - mentioned,
    )  # fmt: skip


def glass_broken(row: Release) -> None:
    """Tell the owning team and its on-call, loudly, that somebody ships past the gates."""
    notify(
        kind="release.emergency",
        title=f"{row.emergency_by} broke the glass: {subject(row)}",
        body=row.emergency_reason, link=link(row), people=_proposer(row),
        teams=[row.version.model.team_id], on_call_of=row.version.model.team_id, urgent=True,
        dedupe=f"release/{row.public_id}/emergency",
    )  # fmt: skip


def review_due(row: Release) -> None:
    """Tell the owning team that a review is owed."""
    notify(
        kind="release.review_due", title=f"A review is owed: {subject(row)}",
        body=row.emergency_reason, link=link(row), teams=[row.version.model.team_id],
        dedupe=f"release/{row.public_id}/review",
    )  # fmt: skip


def mentions(text: str) -> list[int]:
    """Return the keys of the people whom a text mentions: "@ada"."""
    names = list(dict.fromkeys(MENTION.findall(text)))[:20]
    found = (accounts.key_behind(name.rstrip(".")) for name in names)
    return [key for key in found if key is not None]


def _proposer(row: Release) -> list[int]:
    return [row.proposer_id] if row.proposer_id is not None else []


def _could(request: ApprovalRequest) -> list[int]:
    return [holder.pk for holder in approvals.could_decide(request)]
