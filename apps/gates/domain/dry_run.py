"""What another policy would say of a checklist, from what is known already: pure.

Nothing is measured for it. Where the other policy asks for something that was not looked at yet,
or asks it differently, the answer is unknown, because that is what it would be at first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from apps.gates.domain.evaluate import ChecklistVerdict, Excuse, Known, evaluate, verdict
from apps.gates.domain.policy import GateRule
from apps.gates.domain.states import GateState


class Effect(StrEnum):
    """What the other policy would do to a release."""

    STOPPED = "stopped"  # it may ship now, and could not then
    LET_THROUGH = "let through"  # it may not ship now, and could then
    SAME = "same"


@dataclass(frozen=True)
class Judged:
    """One gate as it stands under the policy in force.

    Attributes:
        rule: What that policy asks.
        state: How the gate stands.
        known: What was found, with the expiry of the evidence itself.
        waiver: The waiver, where there is one.
    """

    rule: GateRule
    state: GateState
    known: Known | None
    waiver: Excuse | None


@dataclass(frozen=True)
class GateOutcome:
    """One gate, before and after.

    Attributes:
        gate: Its name.
        required_before: Whether it stops a release now; None where it is not asked for.
        required_after: Whether it would; None where it would not be asked for.
        before: Its state now; None where it is not asked for.
        after: Its state then; None where it would not be asked for.
        why: Why it would be unknown, where asking differently is the reason.
    """

    gate: str
    required_before: bool | None
    required_after: bool | None
    before: GateState | None
    after: GateState | None
    why: str = ""

    @property
    def changed(self) -> bool:
        """Return whether it would weigh or stand otherwise."""
        return (self.required_before, self.before) != (self.required_after, self.after)

    @property
    def stops(self) -> bool:
        """Return whether it would stop the release."""
        return bool(self.required_after) and self.after not in (
            GateState.PASSED,
            GateState.WAIVED,
        )


@dataclass(frozen=True)
class Outcome:
    """One checklist, before and after.

    Attributes:
        before: What it says now.
        after: What it would say.
        gates: Every gate of either policy.
    """

    before: ChecklistVerdict
    after: ChecklistVerdict
    gates: tuple[GateOutcome, ...]

    @property
    def effect(self) -> Effect:
        """Return what the other policy would do."""
        passes, would = (v is ChecklistVerdict.PASSED for v in (self.before, self.after))
        if passes == would:
            return Effect.SAME
        return Effect.LET_THROUGH if would else Effect.STOPPED

    @property
    def changed(self) -> tuple[GateOutcome, ...]:
        """Return the gates that would weigh or stand otherwise."""
        return tuple(gate for gate in self.gates if gate.changed)


def dry_run(
    judged: Sequence[Judged],
    rules: Iterable[GateRule],
    *,
    ages: Mapping[str, timedelta],
    now: datetime,
) -> Outcome:
    """Return what `rules` would make of a checklist.

    Args:
        judged: Its gates as they stand.
        rules: What the other policy asks.
        ages: By gate, how old a finding may be where a rule does not say.
        now: The moment to judge at.
    """
    by_gate = {entry.rule.gate: entry for entry in judged}
    asked = {rule.gate: rule for rule in rules}
    after = [_after(rule, by_gate.get(rule.gate), ages, now) for rule in asked.values()]
    gone = [
        GateOutcome(entry.rule.gate, entry.rule.required, None, entry.state, None)
        for entry in judged
        if entry.rule.gate not in asked
    ]
    return Outcome(
        before=verdict(entry.state for entry in judged if entry.rule.required),
        after=verdict(gate.after for gate in after if gate.required_after and gate.after),
        gates=(*after, *gone),
    )


def _after(
    rule: GateRule, judged: Judged | None, ages: Mapping[str, timedelta], now: datetime
) -> GateOutcome:
    if judged is None:
        why = "It was not asked for until now, so it would be measured first."
        return GateOutcome(rule.gate, None, rule.required, None, GateState.UNKNOWN, why)
    state, why = _state(rule, judged, ages, now)
    return GateOutcome(rule.gate, judged.rule.required, rule.required, judged.state, state, why)


def _state(
    rule: GateRule, judged: Judged, ages: Mapping[str, timedelta], now: datetime
) -> tuple[GateState, str]:
    same_question = rule.parameters == judged.rule.parameters
    if same_question and rule.max_age == judged.rule.max_age:
        return judged.state, ""
    known = judged.known if same_question else None
    age = rule.max_age or ages.get(rule.gate, timedelta(0))
    state = evaluate(known, judged.waiver, max_age=age, now=now)
    if state is not GateState.UNKNOWN or judged.state is GateState.UNKNOWN:
        return state, ""
    if not same_question:
        return state, "Its parameters would change, so it would be measured again first."
    return state, "What was found would be too old, so it would be measured again first."
