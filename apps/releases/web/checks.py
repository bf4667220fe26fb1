"""Gates as the release's page shows them: what needs eyes first, what passed folded by section."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.gates.domain.catalogue import Section
from apps.gates.domain.states import GateState
from apps.gates.selectors import GateView
from apps.releases.web import loadplot
from apps.releases.web.seen import Seen
from controlplane.http.templatetags.components import rounded, spoken

# What stops a release before what advises; what failed before what nobody knows.
URGENCY = {
    GateState.FAILED: 0,
    GateState.UNKNOWN: 1,
    GateState.PENDING: 2,
    GateState.WAIVED: 3,
    GateState.PASSED: 4,
}
TITLES = {
    Section.DATA: "Data",
    Section.MODEL: "Model",
    Section.INFRASTRUCTURE: "Infrastructure",
    Section.MONITORING: "Monitoring",
    Section.SERVICE: "Service",
}
MOST_FACTS = 12
LONGEST_FACT = 160
MOST_NAMED = 5  # in the line of a fold


@dataclass(frozen=True)
class Card:
    """One gate on the page.

    Attributes:
        view: How it stands.
        fresh: How old it is, and for how long still.
        said: Who waived it and why, or where the evidence came from; "" for neither.
        facts: The evidence's numbers, for a person.
        document: The whole evidence, as JSON; "" without any.
        figure: The picture of a load test; None for none.
        finding: What that picture shows.
        no_waiver: Why the reader may not waive it; "" when they may.
        may_run: Whether the reader may have it looked at again.
    """

    view: GateView
    fresh: str
    said: str
    facts: list[tuple[str, str]]
    document: str
    figure: dict[str, Any] | None
    finding: str
    no_waiver: str
    may_run: bool

    @property
    def slug(self) -> str:
        """Return a name for ids in the page."""
        return self.view.gate.replace(".", "-").replace("_", "-")


@dataclass(frozen=True)
class Group:
    """The passed gates of one section.

    Attributes:
        count: How many of the section's gates are passed, in words.
        names: The first of them, for the line of the fold.
    """

    title: str
    count: str
    shown: list[Card]
    folded: list[Card]
    names: str


@dataclass(frozen=True)
class Checks:
    """The section of the page.

    Attributes:
        policy: Which policy, in words.
        score: The ML Test Score, in words; "" when it was not counted.
        eyes: What stops it, or was waived, the worst first.
        advice: What is not passed and only advises, the worst first.
        advised: What the advice comes to, in words ("3 failed, 9 unknown").
        pending: What is about to be looked at.
        groups: What passed.
        longest: The most days that a waiver may hold; 0 when none is allowed.
    """

    policy: str
    policy_href: str
    score: str
    eyes: list[Card]
    advice: list[Card]
    advised: str
    pending: list[Card]
    groups: list[Group]
    longest: int


def checks(seen: Seen) -> Checks | None:
    """Return the gates of the release; None before they were listed."""
    standing = seen.standing.checklist
    if standing is None:
        return None
    policy = standing.policy
    place = seen.row.environment.slug
    cards = [_card(seen, view) for view in standing.gates]
    settled = (GateState.PASSED, GateState.PENDING)
    eyes = sorted(
        (c for c in cards if c.view.state not in settled), key=lambda c: URGENCY[c.view.state]
    )
    advice = [c for c in eyes if not c.view.required and c.view.state is not GateState.WAIVED]
    return Checks(
        policy=f"Policy “{place}, {policy.risk_tier}”, version {policy.number}",
        policy_href=f"/policies/{place}/{policy.risk_tier}",
        score=_score(standing.score),
        eyes=[c for c in eyes if c not in advice],
        advice=advice,
        advised=_counted(advice),
        pending=[c for c in cards if c.view.state is GateState.PENDING],
        groups=_groups(cards),
        longest=int(standing.document.waivers.longest.total_seconds() // 86_400),
    )


def _counted(cards: Sequence[Card]) -> str:
    states = Counter(str(card.view.state) for card in cards)
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _groups(cards: Sequence[Card]) -> list[Group]:
    found = []
    for section in Section:
        mine = [c for c in cards if c.view.section == section]
        passed = [c for c in mine if c.view.state is GateState.PASSED]
        if not mine:
            continue
        folded = [c for c in passed if c.figure is None]
        names = ", ".join(_short(c.view.title) for c in folded[:MOST_NAMED])
        more = len(folded) - MOST_NAMED
        found.append(
            Group(
                title=TITLES[section],
                count=f"{len(passed)} of {len(mine)} passed",
                shown=[c for c in passed if c.figure is not None],
                folded=folded,
                names=names + (f" and {more} more" if more > 0 else ""),
            )
        )
    return found


def _short(title: str) -> str:
    return title[:1].lower() + title[1:]


def _score(score: float | None) -> str:
    return "" if score is None else f"{rounded(score)} of 7"


def _card(seen: Seen, view: GateView) -> Card:
    evidence = view.evidence
    facts = evidence.facts if evidence else {}
    return Card(
        view=view,
        fresh=_fresh(view, seen.now),
        said=_said(view),
        facts=_facts(facts),
        document=_document(view) if evidence else "",
        figure=loadplot.figure(facts),
        finding=loadplot.finding(facts),
        no_waiver=_no_waiver(seen, view),
        may_run=seen.waiting and seen.may("gates.run"),
    )


def _fresh(view: GateView, now: datetime) -> str:
    if view.state is GateState.WAIVED and view.waiver is not None:
        return f"until {view.waiver.expires_at:%-d %b}"
    if view.measured_at is None:
        return "never looked at" if not view.running else "being looked at"
    old = _age((now - view.measured_at).total_seconds())
    if view.expires_at is None:
        return old
    left = (view.expires_at - now).total_seconds()
    return f"{old}, too old" if left <= 0 else f"{old}, fresh for {spoken_short(left)} more"


def _age(seconds: float) -> str:
    return "just now" if seconds < 60 else f"{spoken_short(seconds)} old"


def spoken_short(seconds: float) -> str:
    """Return seconds in one unit."""
    days = int(seconds // 86_400)
    if days >= 2:
        return f"{days} days"
    return spoken(float(int(seconds // 60) * 60 if seconds >= 3600 else seconds))


def _said(view: GateView) -> str:
    if view.waiver is not None:
        waiver = view.waiver
        by = waiver.granted_by.display_name or waiver.granted_by.username
        return f"“{waiver.reason}” Waived by {by} on {waiver.created_at:%-d %B}."
    evidence = view.evidence
    if evidence is not None and evidence.source == "ci":
        return f"Evidence from CI, sent by {evidence.recorded_by}."
    if evidence is not None and evidence.source == "statement":
        return f"A statement by {evidence.recorded_by}; no program looked."
    return ""


def _no_waiver(seen: Seen, view: GateView) -> str:
    """Return why the reader may not waive a gate; "" when they may."""
    if not seen.waiting or view.good or seen.row.checklist is None:
        return "There is nothing to waive."
    if seen.rules is not None and not seen.rules.waivers.longest:
        return "The policy allows no waivers."
    if not seen.may("gates.waive"):
        return "Only a reviewer or an admin waives a gate."
    if seen.actor.person_id is not None and seen.actor.person_id == seen.row.proposer_id:
        return "You proposed this release: somebody else has to waive."
    return ""


def _document(view: GateView) -> str:
    evidence = view.evidence
    if evidence is None:
        return ""
    told = {
        "gate": evidence.key,
        "verdict": evidence.verdict,
        "subject": evidence.subject,
        "sentence": evidence.sentence,
        "facts": evidence.facts,
        "files": evidence.files,
        "source": evidence.source,
        "measured_at": evidence.measured_at.isoformat(),
        "recorded_by": evidence.recorded_by,
        "digest": evidence.digest,
    }
    return json.dumps(told, indent=1, ensure_ascii=False, sort_keys=False)


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers and words of evidence; what has parts is in the document."""
    return list(_plain(facts))[:MOST_FACTS]


def _plain(facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        words = _value(value)
        if words:
            yield name.replace("_", " "), words


def _value(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return rounded(float(value), 4)
        case str():
            return value[:LONGEST_FACT]
        case list() if value and all(isinstance(v, str) for v in value):
            return ", ".join(value[:6])[:LONGEST_FACT]
        case _:
            return ""
