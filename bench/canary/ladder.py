"""Our own rollout over its steps, with a clock: judge, hard limits and policy as they run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from apps.analysis.domain import judge, limits
from apps.analysis.domain.judge import Plan
from apps.analysis.domain.limits import Limits, Recent
from apps.analysis.domain.values import Slice
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import Trial
from apps.rollouts.domain import document
from apps.rollouts.domain.decide import Abort, Advance, Pause, Position, Promote, Seen, decide
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Step, Until, compile_steps
from bench.canary.traffic import FAILING, LOOK_SECONDS, REFUSED, THRESHOLD_MS, USUAL, Scenario
from controlplane.kernel.quantities import of_share

EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
STANDING = (Step(10, timedelta(days=1), Until.JUDGED),)  # ten percent for the whole hour
USUAL_STEPS = compile_steps(document.parse({"kind": "canary"}))
MOST_LOOKS = 3 * 360  # three hours
_WINDOW = 60 // LOOK_SECONDS


class Ladder:
    """One rollout.

    Attributes:
        judged: The judge's state.
        ended: How it ended: "aborted", "promoted", "paused"; "" while it goes on.
        looks: How many looks there were.
    """

    def __init__(
        self, plan: Plan, limits_: Limits, *, steps: tuple[Step, ...] = USUAL_STEPS
    ) -> None:
        self.plan, self.limits, self.steps = plan, limits_, steps
        self.judged = judge.begin(plan)
        self.ended, self.looks, self.index = "", 0, 0
        self._since, self._errors = EPOCH, list[Slice]()

    @property
    def weight(self) -> int:
        """Return the canary's weight in percent."""
        return self.steps[self.index].weight

    @property
    def minutes(self) -> float:
        """Return how long it has gone on."""
        return self.looks * LOOK_SECONDS / 60

    def look(self, news: Mapping[str, Sequence[Slice]]) -> None:
        """Take what happened since the last look, and do what the policy says."""
        self.looks += 1
        self.judged = judge.advance(self.plan, self.judged, news)
        self._errors = [*self._errors, *news["errors"]][-_WINDOW:]
        action = decide(self._position(), self.steps, self._seen())
        match action:
            case Abort():
                self.ended = "aborted"
            case Promote():
                self.ended = "promoted"
            case Pause():
                self.ended = "paused"
            case Advance(index=index):
                self.index, self._since = index, self._now()
                self.judged = judge.new_step(self.plan, self.judged)
            case _:
                pass

    def _now(self) -> datetime:
        return EPOCH + timedelta(seconds=LOOK_SECONDS * self.looks)

    def _position(self) -> Position:
        return Position(RolloutState.PROGRESSING, self.index, step_seen_at=self._since)

    def _seen(self) -> Seen:
        asked = Trial(1, weight=self.weight)
        answer = judge.verdict(self.plan, self.judged)
        return Seen(
            at=self._now(),
            candidate=RevisionState.SHIFTING,
            wanted=asked,
            asked=asked,
            in_force=asked,
            in_force_since=self._since,
            answer=answer,
            why=f"The judge says: {answer}.",  # the whole sentence costs time and decides nothing
            limit=limits.hit(self.limits, Recent(self._errors)) or "",
        )


def climb(scenario: Scenario, plan: Plan, limits_: Limits, *, rng: np.random.Generator) -> Ladder:
    """Return a rollout over the usual steps, ended; the endpoint gets ten times `scenario.rps`."""
    ladder = Ladder(plan, limits_)
    minutes = np.arange(MOST_LOOKS) * LOOK_SECONDS / 60
    failing, slow = scenario.failing(minutes), scenario.slow(minutes)
    refused = scenario.refused(minutes)
    while not ladder.ended and ladder.looks < MOST_LOOKS:
        look, share = ladder.looks, ladder.weight / 100
        both = scenario.rps * 10 * LOOK_SECONDS
        n_c, n_s = int(rng.poisson(both * share)), int(rng.poisson(both * (1 - share)))
        at = EPOCH + timedelta(seconds=LOOK_SECONDS * look)
        news = {
            name: [
                Slice(
                    at, LOOK_SECONDS,
                    of_share(n_s, int(rng.binomial(n_s, stable))),
                    of_share(n_c, int(rng.binomial(n_c, canary))),
                )
            ]
            for name, stable, canary in (
                ("errors", FAILING, failing[look]),
                ("slow", USUAL.over(THRESHOLD_MS), slow[look]),
                ("refused", REFUSED, refused[look]),
            )
        }  # fmt: skip
        ladder.look(news)
    return ladder
