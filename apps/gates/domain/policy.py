"""The rules of one environment for one risk tier, as values: pure.

A policy is written as a document (JSON or YAML), kept as one, and read here. Nothing else in the
product looks into the document: everybody works with a `PolicyDocument`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from apps.gates.domain import parameters
from apps.gates.domain.places import Fields, Place
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Invalid

OWNER = "owner"  # in a seat: the team that owns the model
STRATEGIES = (
    "canary", "linear", "blue_green", "shadow", "ab", "bandit", "all_at_once", "recreate",
)  # fmt: skip
SUPERSEDE = ("replace", "wait")  # what a newer release does to one that is under way
JUDGES = (Role.REVIEWER, Role.OPERATOR, Role.ADMIN)  # whose yes may fill a seat
LARGEST_SCORE = 7.0  # each section of the ML Test Score has seven tests
LONGEST_DAYS, LONGEST_HOURS, MOST_GATES, MOST_SEATS = 3650, 8760, 200, 10
TOP = (
    "gates", "minimum_score", "approvals", "waivers", "emergency", "strategies", "supersede",
)  # fmt: skip


@dataclass(frozen=True)
class GateRule:
    """One gate that a release must pass, or be advised by.

    Attributes:
        gate: Its name in the catalogue ("artifact.scanned").
        required: Whether it stops a release; otherwise it advises.
        max_age: How old its evidence may be; None for as long as the gate itself says.
        parameters: What this policy tells the gate's program.
    """

    gate: str
    required: bool = True
    max_age: timedelta | None = None
    parameters: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Seat:
    """One yes that is needed.

    Attributes:
        title: What the policy calls it ("Owner's lead").
        roles: Any of these may fill it.
        team: "owner" for the team that owns the model, a slug for that team, None for any.
    """

    title: str
    roles: tuple[Role, ...]
    team: str | None = None


@dataclass(frozen=True)
class ApprovalRules:
    """Who must say yes, and how long a question stays open."""

    seats: tuple[Seat, ...]
    expires_after: timedelta = timedelta(hours=72)
    remind_after: timedelta = timedelta(hours=24)


@dataclass(frozen=True)
class WaiverRules:
    """How long a waiver may hold; zero where none is allowed."""

    longest: timedelta = timedelta(days=14)


@dataclass(frozen=True)
class EmergencyRules:
    """Whether an operator may ship without approval, for how long, and when it is reviewed."""

    allowed: bool = False
    lasts: timedelta = timedelta(hours=24)
    review_within: timedelta = timedelta(hours=72)


@dataclass(frozen=True)
class PolicyDocument:
    """Everything a policy says.

    Attributes:
        gates: In the order in which they are shown.
        minimum_score: The least ML Test Score; 0 asks for none.
        approvals: Who must say yes.
        waivers: How a gate may be passed without its evidence.
        emergency: How an operator may ship without approval.
        strategies: How a release may reach its traffic.
        supersede: "replace" when a newer release takes an open one's place, "wait" when it waits.
    """

    gates: tuple[GateRule, ...]
    approvals: ApprovalRules
    minimum_score: float = 0.0
    waivers: WaiverRules = WaiverRules()
    emergency: EmergencyRules = EmergencyRules()
    strategies: tuple[str, ...] = STRATEGIES
    supersede: str = "replace"

    def rule(self, gate: str) -> GateRule | None:
        """Return the rule about `gate`, where there is one."""
        return next((rule for rule in self.gates if rule.gate == gate), None)

    @property
    def required(self) -> tuple[GateRule, ...]:
        """Return the gates that stop a release."""
        return tuple(rule for rule in self.gates if rule.required)


def parse(document: object, *, catalogue: Collection[str] | None = None) -> PolicyDocument:
    """Return what a document says.

    `gates` and `approvals` must be there, so that nobody is let through by an omission; what else
    is left out has a careful default (see `PolicyDocument`).

    Args:
        document: As read from JSON or YAML.
        catalogue: The names of the gates that exist; None to take any name and any parameter.
            Policies on record are read so, and one that names a gate of old still reads.

    Raises:
        Invalid: Something is missing, unknown, doubled or out of range; `field` is its place
            ("gates[3].max_age_days") and the remedy says what to write.
    """
    top = Place(document).fields(TOP)
    return PolicyDocument(
        gates=_gates(top["gates"], catalogue),
        minimum_score=_score(top),
        approvals=_approvals(top["approvals"]),
        waivers=_waivers(top) if "waivers" in top else WaiverRules(),
        emergency=_emergency(top) if "emergency" in top else EmergencyRules(),
        strategies=_strategies(top["strategies"]) if "strategies" in top else STRATEGIES,
        supersede=top["supersede"].choice(SUPERSEDE) if "supersede" in top else "replace",
    )


def as_document(policy: PolicyDocument) -> dict[str, object]:
    """Return the document that `parse` reads back as `policy`, with nothing left out."""
    approvals, emergency = policy.approvals, policy.emergency
    return {
        "gates": [_rule_as_document(rule) for rule in policy.gates],
        "minimum_score": _plain(policy.minimum_score),
        "approvals": {
            "seats": [
                {"title": s.title, "roles": [str(r) for r in s.roles], "team": s.team}
                for s in approvals.seats
            ],
            "expires_after_hours": _hours(approvals.expires_after),
            "remind_after_hours": _hours(approvals.remind_after),
        },
        "waivers": {"longest_days": _days(policy.waivers.longest)},
        "emergency": {
            "allowed": emergency.allowed,
            "lasts_hours": _hours(emergency.lasts),
            "review_within_hours": _hours(emergency.review_within),
        },
        "strategies": list(policy.strategies),
        "supersede": policy.supersede,
    }


def _gates(place: Place, catalogue: Collection[str] | None) -> tuple[GateRule, ...]:
    rules = [_rule(entry, catalogue) for entry in place.items("gates")]
    if len(rules) > MOST_GATES:
        place.refuse(f"Write at most {MOST_GATES} gates.")
    _refuse_doubles(place, [rule.gate for rule in rules], "gate")
    return tuple(rules)


def _rule(place: Place, catalogue: Collection[str] | None) -> GateRule:
    said = place.fields(("gate", "required", "max_age_days", "parameters"))
    gate = said["gate"].text(80) if catalogue is None else said["gate"].choice(catalogue)
    if catalogue is not None and "parameters" in said:
        parameters.check(gate, said["parameters"])
    return GateRule(
        gate=gate,
        required=said["required"].boolean() if "required" in said else True,
        max_age=_days_of(said["max_age_days"], above=0) if "max_age_days" in said else None,
        parameters=said["parameters"].mapping() if "parameters" in said else {},
    )


def _score(top: Fields) -> float:
    if "minimum_score" not in top:
        return 0.0
    return float(top["minimum_score"].number("points", most=LARGEST_SCORE))


def _approvals(place: Place) -> ApprovalRules:
    said = place.fields(("seats", "expires_after_hours", "remind_after_hours"))
    seats = tuple(_seat(entry) for entry in said["seats"].items("seats, or [] for none"))
    if len(seats) > MOST_SEATS:
        said["seats"].refuse(f"Write at most {MOST_SEATS} seats.")
    _refuse_doubles(said["seats"], [seat.title for seat in seats], "title")
    default = ApprovalRules(seats=())
    expires = _hours_or(said, "expires_after_hours", default.expires_after)
    remind = _hours_or(said, "remind_after_hours", min(default.remind_after, expires / 3))
    if remind >= expires:
        said["remind_after_hours"].refuse(
            f"Remind before the request expires, after {_hours(expires)} hours."
        )
    return ApprovalRules(seats=seats, expires_after=expires, remind_after=remind)


def _seat(place: Place) -> Seat:
    said = place.fields(("title", "roles", "team"))
    roles = tuple(Role(r.choice(JUDGES)) for r in said["roles"].items("roles"))
    if not roles:
        said["roles"].refuse(f"Write at least one of: {', '.join(JUDGES)}.")
    _refuse_doubles(said["roles"], list(roles), "")
    team = said["team"].text(60) if "team" in said else None
    return Seat(title=said["title"].text(60), roles=roles, team=team)


def _waivers(top: Fields) -> WaiverRules:
    said = top["waivers"].fields(("longest_days",))
    return WaiverRules(longest=_days_of(said["longest_days"]))


def _emergency(top: Fields) -> EmergencyRules:
    said = top["emergency"].fields(("allowed", "lasts_hours", "review_within_hours"))
    default = EmergencyRules()
    return EmergencyRules(
        allowed=said["allowed"].boolean(),
        lasts=_hours_or(said, "lasts_hours", default.lasts),
        review_within=_hours_or(said, "review_within_hours", default.review_within),
    )


def _strategies(place: Place) -> tuple[str, ...]:
    names = [entry.choice(STRATEGIES) for entry in place.items("strategies")]
    if not names:
        place.refuse(f"Write at least one of: {', '.join(STRATEGIES)}.")
    _refuse_doubles(place, names, "")
    return tuple(names)


def _refuse_doubles(place: Place, names: list[str], of: str) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            path = f"{place.path}[{index}]" + (f".{of}" if of else "")
            first = f"{place.path}[{names.index(name)}]"
            raise Invalid(
                f"{path} is {name!r}, and so is {first}.",
                remedy="Name each one once.",
                field=path,
                code="policy.invalid",
            )


def _days_of(place: Place, above: float | None = None) -> timedelta:
    return timedelta(days=place.number("days", above=above, most=LONGEST_DAYS))


def _hours_or(said: Fields, name: str, default: timedelta) -> timedelta:
    if name not in said:
        return default
    return timedelta(hours=said[name].number("hours", above=0, most=LONGEST_HOURS))


def _rule_as_document(rule: GateRule) -> dict[str, object]:
    return {
        "gate": rule.gate,
        "required": rule.required,
        "max_age_days": _days(rule.max_age) if rule.max_age is not None else None,
        "parameters": dict(rule.parameters),
    }


def _days(span: timedelta) -> float:
    return _plain(span / timedelta(days=1))


def _hours(span: timedelta) -> float:
    return _plain(span / timedelta(hours=1))


def _plain(number: float) -> float:
    """Return 3 rather than 3.0, so a document reads as it was written."""
    return int(number) if number == int(number) else number
