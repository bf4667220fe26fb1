"""One look of the judge: from news to what a row says of it. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.analysis.domain import judge, slicing
from apps.analysis.domain.judge import Plan, RunState
from apps.analysis.domain.values import Answer, Finding, Judgement, Slice

MOST = 1e300  # JSON has no infinity
NOTHING_YET = "Nothing has been seen yet."
NEW_STEP = "A new step has begun, and nothing has been seen of it yet."
NO_STABLE = "There is no stable revision to compare the canary with; only hard limits hold."
NO_METRICS = "No metrics are compared; only hard limits hold."


@dataclass(frozen=True)
class News:
    """What came since the last look.

    Attributes:
        slices: By metric's name, in order.
        step_at: When a step began that has not been judged yet; None when there is none.
        whole_until: Until when all slices are there.
    """

    slices: Mapping[str, Sequence[Slice]]
    step_at: datetime | None
    whole_until: datetime

    @property
    def step_is_due(self) -> bool:
        """Return whether all that happened before the new step is there."""
        return self.step_at is not None and self.whole_until >= self.step_at


def advance(plan: Plan, state: RunState, news: News) -> RunState:
    """Return the state after the news; what began before a new step counts before it."""
    if news.step_at is None or not news.step_is_due:
        return judge.advance(plan, state, news.slices)
    parts = {name: slicing.split(pieces, news.step_at) for name, pieces in news.slices.items()}
    before = judge.advance(plan, state, {name: part[0] for name, part in parts.items()})
    stepped = judge.new_step(plan, before)
    return judge.advance(plan, stepped, {name: part[1] for name, part in parts.items()})


def judgement(plan: Plan, state: RunState, news: News, *, has_stable: bool) -> Judgement:
    """Return what is known after the news.

    A step of which nothing has been seen yet is never "not worse", whatever was known before.
    """
    found = judge.judge(plan, state)
    if found.answer is Answer.WORSE:
        return found
    if not has_stable or not plan.metrics:
        return _open(found, NO_METRICS if has_stable else NO_STABLE)
    if news.step_at is not None and not news.step_is_due:
        return _open(found, NEW_STEP)
    return found


def columns(found: Judgement) -> dict[str, Any]:
    """Return what a row keeps of a judgement."""
    return {
        "answer": found.answer,
        "sentence": found.sentence,
        "remaining_seconds": finite(found.remaining_seconds),
        "findings": [as_document(finding) for finding in found.findings],
    }


def as_document(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON can hold it."""
    return {
        name: finite(value) if isinstance(value, float) else value
        for name, value in vars(finding).items()
    }


def finite(value: float | None) -> float | None:
    """Return a number that JSON and the database can hold; None for one that is none."""
    if value is None or math.isnan(value):
        return None
    return min(max(value, -MOST), MOST)


def _open(found: Judgement, sentence: str) -> Judgement:
    return Judgement(Answer.NOT_YET, found.findings, found.combined_worse, sentence, None)
