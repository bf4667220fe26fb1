"""What people are told about, and how unless they chose otherwise."""

from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """How a person hears of one kind of thing.

    Whatever is not `OFF` is on the page of notifications as well.
    """

    PAGE = "page"
    MAIL = "mail"
    DIGEST = "digest"
    OFF = "off"


class Transport(StrEnum):
    """What carries a message to a channel."""

    MAIL = "mail"
    APPRISE = "apprise"
    WEBHOOK = "webhook"


@dataclass(frozen=True)
class Kind:
    """One kind of thing that people are told about.

    Attributes:
        name: As programs see it ("release.waits_for_you").
        title: As a page lists it.
        way: How a person hears of it who chose nothing.
    """

    name: str
    title: str
    way: Way


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("release.waits_for_you", "A release waits for your decision", Way.MAIL),
        Kind("release.reminder", "A release still waits for your decision", Way.MAIL),
        Kind("release.mentioned", "Somebody mentioned you", Way.MAIL),
        Kind("release.commented", "Somebody commented on a release of yours", Way.DIGEST),
        Kind("release.changes_requested", "Changes were asked for", Way.MAIL),
        Kind("release.approved", "A release was approved", Way.DIGEST),
        Kind("release.declined", "A release was declined", Way.MAIL),
        Kind("release.voided", "A change voided the approvals of a release", Way.MAIL),
        Kind("release.authorized", "A release may ship", Way.DIGEST),
        Kind("release.live", "A release is live", Way.DIGEST),
        Kind("release.failed", "A release did not go live", Way.MAIL),
        Kind("rollout.paused", "A rollout waits for a person", Way.MAIL),
        Kind("rollout.aborted", "A rollout went back", Way.MAIL),
        Kind("release.emergency", "Somebody shipped without approval", Way.MAIL),
        Kind("release.review_due", "An emergency waits for its review", Way.MAIL),
        Kind("waiver.expiring", "A waiver is about to end", Way.MAIL),
        Kind("gate.failed", "A gate failed", Way.DIGEST),
        Kind("alias.moved", "A protected alias was moved from outside", Way.MAIL),
        Kind("ledger.broken", "The ledger does not verify", Way.MAIL),
        Kind("channel.broken", "A channel of yours lost a message", Way.MAIL),
    )
}
ABOUT_CHANNELS = "channel.broken"  # people hear of it; no channel does, least of all that one
TEST = "channel.test"  # what the test button sends; nobody chooses it
DIGEST = "digest"  # the daily mail; nobody chooses it


def way_of(kind: str) -> Way:
    """Return how a person hears of `kind` who chose nothing; an unknown one is on the page."""
    found = KINDS.get(kind)
    return found.way if found else Way.PAGE
