"""The discussion: what people said, and what was done, in one stream, oldest first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.accounts.models import Person
from apps.audit.models import AuditEvent
from apps.releases.models import Comment, Release

# What was done, as the rest of the sentence, and whose tone its mark takes.
ACTS: dict[str, tuple[str, str]] = {
    "releases.propose": ("proposed it", "proposed"),
    "releases.revise": ("changed it", "changes_requested"),
    "releases.withdraw": ("withdrew it", "withdrawn"),
    "releases.promote": ("promoted it", "promoting"),
    "releases.break_glass": ("broke the glass: it ships without approval", "failed"),
    "releases.roll_back": ("rolled it back", "rolled_back"),
    "releases.review": ("reviewed the emergency", "reviewed"),
    "releases.authorize": ("authorized the rollout", "authorized"),
    "releases.start": ("started the rollout", "rolling_out"),
    "releases.go_live": ("found it live", "live"),
    "releases.decline": ("closed it as declined", "declined"),
    "releases.expire": ("let it expire", "expired"),
    "releases.supersede": ("closed it: a newer release took its place", "superseded"),
    "approvals.ask": ("asked for approval", "awaiting_approval"),
    "approvals.approve": ("approved", "granted"),
    "approvals.changes": ("asked for changes", "changes_requested"),
    "approvals.request_changes": ("asked for changes", "changes_requested"),
    "approvals.decline": ("declined", "declined"),
    "approvals.take_back": ("took back their decision", "cancelled"),
    "approvals.grant": ("counted the last approval that was needed", "granted"),
    "approvals.reopen": ("asked again: an approval no longer counts", "awaiting_approval"),
    "approvals.void": ("voided the approvals", "expired"),
    "approvals.expire": ("let the request expire", "expired"),
    "approvals.withdraw": ("withdrew the request", "withdrawn"),
    "approvals.remind": ("reminded whoever it waits for", "info"),
    "gates.waive": ("waived a gate", "waived"),
}
# Steps on the way that say nothing beyond the track.
QUIET = {"releases.comment", "releases.build", "releases.check", "releases.ask", "releases.choose"}
LONGEST = 120
WORKERS = {"releases": "The release worker", "gates": "The gate worker"}


@dataclass(frozen=True)
class Item:
    """One comment or one act.

    Attributes:
        comment: What somebody said; None for an act.
        about: What the comment is by: "proposer" or "".
        by: Who.
        by_person: Whether a person did it.
        words: What was done.
        reason: Why, in their words.
        state: Whose tone the mark takes.
        voided: Whether it says that approvals do not count any more.
        changes: What changed, value by value.
    """

    at: datetime
    by: str
    by_person: bool = True
    comment: Comment | None = None
    about: str = ""
    words: str = ""
    reason: str = ""
    state: str = ""
    voided: bool = False
    changes: tuple[tuple[str, str, str], ...] = ()


def items(
    release: Release,
    comments: Sequence[Comment],
    events: Iterable[AuditEvent],
    people: Iterable[Person] = (),
) -> list[Item]:
    """Return comments and acts together, oldest first.

    Args:
        release: What they are about.
        comments: With their people.
        events: Of the ledger.
        people: Whoever is known already, so that acts show what they are called.
    """
    known = [*people, *(c.person for c in comments if c.person is not None)]
    names = {p.username: p.display_name for p in known if p.display_name}
    said = [_said(release, c) for c in comments]
    done = [_done(e, names) for e in events if e.verb not in QUIET]
    return sorted([*said, *done], key=lambda i: (i.at, i.comment is not None))


def _said(release: Release, comment: Comment) -> Item:
    mine = comment.person_id is not None and comment.person_id == release.proposer_id
    person = comment.person
    name = (person.display_name or person.username) if person else comment.by
    return Item(comment.created_at, name, comment=comment, about="proposer" if mine else "")


def _done(event: AuditEvent, names: Mapping[str, str]) -> Item:
    words, state = ACTS.get(event.verb, (_spelt(event.verb), "info"))
    return Item(
        at=event.at,
        by=_named(event, names),
        by_person=event.actor_kind != "worker",
        words=words,
        reason="" if event.verb == "approvals.void" and event.after else event.reason,
        state=state,
        voided=event.verb == "approvals.void",
        changes=_changes(event) if event.verb in ("approvals.void", "releases.revise") else (),
    )


def _changes(event: AuditEvent) -> tuple[tuple[str, str, str], ...]:
    names = [*event.before, *(n for n in event.after if n not in event.before)]
    return tuple(
        (n.replace("_", " "), _short(event.before.get(n)), _short(event.after.get(n)))
        for n in names
        if event.before.get(n) != event.after.get(n)
    )


def _short(value: object) -> str:
    if value in (None, "", {}, []):
        return "nothing"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())[:LONGEST]
    text = str(value)
    return text[7:15] if text.startswith("sha256:") else text[:LONGEST]


def _named(event: AuditEvent, names: Mapping[str, str]) -> str:
    if event.actor_kind != "worker":
        return names.get(event.actor_name, event.actor_name)
    name = event.actor_name.removeprefix("worker:")
    return WORKERS.get(name, f"The {name} worker")


def _spelt(verb: str) -> str:
    return " ".join(verb.split(".")[1:]).replace("_", " ")
