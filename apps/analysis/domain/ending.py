"""How an analysis ends, and what its standing means while it lasts. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.analysis.domain.states import ENDED, AnalysisMove, AnalysisState
from apps.analysis.domain.values import Answer

STALE_AFTER = timedelta(seconds=60)  # without a look; what was seen before may be so no more


@dataclass(frozen=True)
class Standing:
    """What an analysis says now, for whoever decides by it.

    Attributes:
        answer: Of the three. "Not worse" is said only by an analysis that runs and has looked
            within the last minute; "worse", once proven, is said whatever happens then.
        sentence: The reason, or what is waited for.
        remaining_seconds: How long until a decision at the present traffic; None when unknown.
        limit_hit: The hard limit that the canary is beyond, as a sentence; "" for none.
        problem: Why the analysis cannot look, as a sentence; "" when it can.
        remedy: What would help.
        stale: Whether nobody has looked for so long that the problem is just that.
    """

    answer: Answer
    sentence: str
    remaining_seconds: float | None
    limit_hit: str
    problem: str
    remedy: str
    stale: bool


@dataclass(frozen=True)
class Facts:
    """What is known of a run, as its row has it.

    Attributes:
        state: Of the run.
        answer: Of the last look.
        sentence: That goes with it.
        remaining_seconds: That go with it.
        limit_hit: As in `Standing`.
        problem: Why the last look could not be made.
        remedy: What would help.
        looked_at: When the last look was made, or else when the run began.
    """

    state: AnalysisState
    answer: Answer
    sentence: str
    remaining_seconds: float | None
    limit_hit: str
    problem: str
    remedy: str
    looked_at: datetime


def standing(facts: Facts, now: datetime) -> Standing:
    """Return what an analysis says at `now`: never "not worse" by what can no longer be seen."""
    stale = facts.state not in ENDED and now - facts.looked_at > STALE_AFTER
    problem, remedy = facts.problem, facts.remedy
    if stale and not problem:
        seconds = round((now - facts.looked_at).total_seconds())
        problem = f"Nobody has looked at the numbers for {seconds} s."
        remedy = "Check that the workers run; it goes on by itself then."
    blind = bool(problem) and facts.answer is Answer.NOT_WORSE
    return Standing(
        answer=Answer.NOT_YET if blind else facts.answer,
        sentence=problem if blind else facts.sentence,
        remaining_seconds=None if problem else facts.remaining_seconds,
        limit_hit=facts.limit_hit,
        problem=problem,
        remedy=remedy,
        stale=stale,
    )


def move_at_end(state: AnalysisState, answer: Answer, limit_hit: str) -> AnalysisMove:
    """Return how a run ends that has come to `answer`."""
    if state is AnalysisState.PENDING:
        return AnalysisMove.LEAVE
    if answer is Answer.WORSE or limit_hit:
        return AnalysisMove.FAIL
    if answer is Answer.NOT_WORSE and state is AnalysisState.RUNNING:
        return AnalysisMove.PASS
    return AnalysisMove.LEAVE
