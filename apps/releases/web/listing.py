"""The list of releases: four tabs, each a question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from apps.approvals import waiting
from apps.releases import selectors
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Release
from apps.releases.web.track import MINI, Mini, mini
from controlplane.kernel.actor import Actor

FACTS = {
    ReleaseState.PROPOSED: "Waits for its build",
    ReleaseState.BUILDING: "Waits for its build",
    ReleaseState.CHECKING: "Its gates are being checked",
    ReleaseState.AWAITING_APPROVAL: "Waits for approval",
    ReleaseState.AUTHORIZED: "May roll out",
    ReleaseState.ROLLING_OUT: "Traffic is moving",
    ReleaseState.LIVE: "Answers every request",
}


@dataclass(frozen=True)
class Row:
    """One line of the list."""

    release: Release
    line: Mini
    fact: str
    stations: tuple[str, ...] = MINI


@dataclass(frozen=True)
class Tab:
    """One question about releases.

    Attributes:
        title: The tab's words.
        find: The rows.
        empty: What stands there when there are none: a title, a sentence.
    """

    title: str
    find: Callable[[Actor], QuerySet[Release]]
    empty: tuple[str, str]


def _mine(actor: Actor) -> QuerySet[Release]:
    rows = selectors.releases(actor, state=ReleaseState.AWAITING_APPROVAL)
    return rows.filter(request__in=waiting.requests(actor))


TABS: dict[str, Tab] = {
    "open": Tab(
        "Under way",
        lambda actor: selectors.releases(actor, state="open"),
        ("Nothing is on its way", "Propose a release from the page of a version that is proven."),
    ),
    "mine": Tab(
        "Waits for you",
        _mine,
        ("Nothing waits for you", "Releases whose empty seat you could fill appear here."),
    ),
    "live": Tab(
        "Live",
        lambda actor: selectors.releases(actor, state=ReleaseState.LIVE),
        ("No release is live", "What is shipped through a release appears here."),
    ),
    "ended": Tab(
        "Ended",
        lambda actor: selectors.releases(actor, state="ended"),
        (
            "Nothing has ended yet",
            "Declined, withdrawn, expired and superseded releases stay here.",
        ),
    ),
}


def rows_of(actor: Actor, tab: str, *, environment: str, model: str) -> QuerySet[Release]:
    """Return the releases of a tab, newest first."""
    rows = TABS[tab].find(actor)
    if environment:
        rows = rows.filter(environment__slug=environment)
    if model:
        rows = rows.filter(version__model__name__icontains=model)
    return rows


def present(rows: Sequence[Release]) -> list[Row]:
    """Return releases as lines."""
    return [Row(r, mini(r.state), fact(r)) for r in rows]


def counts(actor: Actor) -> dict[str, int]:
    """Return how many wait for the actor; the other tabs are not counted."""
    return {"mine": waiting.count(actor)}


def fact(release: Release) -> str:
    """Return what is so with a release, in a few words, without another query."""
    if release.problem:
        return release.problem
    known = FACTS.get(ReleaseState(release.state))
    return known or release.end_reason or "It stays readable"
