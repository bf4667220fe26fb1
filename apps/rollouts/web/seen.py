"""Everything that the page of one rollout reads, each part once, with the reader's own eyes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from apps.accounts.domain import access
from apps.analysis import selectors as analyses
from apps.analysis.domain import spec
from apps.analysis.domain.ending import Standing
from apps.analysis.domain.values import Finding, Metric
from apps.analysis.models import AnalysisRun, Look
from apps.endpoints.domain import trials
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import ReplicaState, Trial
from apps.endpoints.models import Revision
from apps.monitoring import selectors as monitoring
from apps.rollouts import planning, selectors
from apps.rollouts.domain import decide as d
from apps.rollouts.domain.states import ROLLOUT, RolloutState
from apps.rollouts.domain.steps import Step
from apps.rollouts.domain.strategy import Strategy
from apps.rollouts.models import Rollout, RolloutEvent
from apps.rollouts.planning import Planned
from apps.rollouts.telling import Kind
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid

LEAST_SPAN = timedelta(minutes=5)  # of the charts
BEFORE, AFTER = timedelta(minutes=1), timedelta(minutes=1)
MOST_POINTS = 160  # of a curve
MOST_MILESTONES = 400
LOG_SHOWN, LOG_ALL = 12, 2_000
# What the ladder and the split over time are made of.
MILESTONES = (
    Kind.SEEN, Kind.ADVANCED, Kind.SKIPPED, Kind.REALLOCATED, Kind.PROMOTED, Kind.SETTLED,
    Kind.ABORTED, Kind.RESTORED,
)  # fmt: skip


@dataclass
class Seen:
    """One rollout, as one reader sees it at one moment.

    Attributes:
        actor: The reader.
        row: From `selectors.rollout`, with all that it joins.
        now: The moment.
        whole_log: Whether the reader wants to see the whole log.
    """

    actor: Actor
    row: Rollout
    now: datetime
    whole_log: bool = False

    @cached_property
    def state(self) -> RolloutState:
        """Return the rollout's state."""
        return RolloutState(self.row.state)

    @cached_property
    def ended(self) -> bool:
        """Return whether nothing will happen to it any more."""
        return self.state in ROLLOUT.terminal()

    @cached_property
    def plan(self) -> Planned:
        """Return the strategy and its steps."""
        return planning.of(self.row)

    @property
    def strategy(self) -> Strategy:
        """Return how traffic is moved."""
        return self.plan.strategy

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the steps before the candidate answers everything."""
        return self.plan.steps

    @cached_property
    def step(self) -> Step | None:
        """Return the step that it stands at; None past the last one."""
        return self.steps[self.row.step] if self.row.step < len(self.steps) else None

    @cached_property
    def coming(self) -> bool:
        """Return whether the candidate's servers are not ready yet."""
        return RevisionState(self.row.candidate.state) in d.COMING

    @cached_property
    def in_force(self) -> Trial | None:
        """Return what the proxy was last seen to do with the candidate."""
        seen = trials.from_json(self.row.endpoint.trial_seen)
        mine = seen is not None and seen.candidate == self.row.candidate.number
        return seen if mine else None

    @cached_property
    def taken_up(self) -> bool:
        """Return whether the proxy does what the present step wants."""
        return self.in_force is not None and self.in_force == planning.wanted(self.row)

    @cached_property
    def held_until(self) -> datetime | None:
        """Return when the step's minimum hold ends; None before the step is in force."""
        since = self.row.endpoint.trial_seen_since
        if self.step is None or since is None or not self.taken_up:
            return None
        return since + self.step.hold

    @cached_property
    def late_at(self) -> datetime | None:
        """Return when the step's time is up; None when it is not, or not known."""
        begun = self.row.step_seen_at
        if self.step is None or self.step.deadline is None or begun is None:
            return None
        return begun + self.step.hold + self.step.deadline

    @cached_property
    def run(self) -> AnalysisRun | None:
        """Return the analysis, if one goes along."""
        return analyses.of(planning.subject(self.row)) if planning.is_judged(self.row) else None

    @cached_property
    def standing(self) -> Standing | None:
        """Return what the judge says now."""
        return analyses.standing(self.run, self.now) if self.run else None

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Return what is compared."""
        if self.run is None:
            return ()
        try:
            return spec.parse_metrics(self.run.plan["metrics"])
        except (Invalid, KeyError):
            return ()

    @cached_property
    def findings(self) -> dict[str, Finding]:
        """Return what is known of each metric, by its name."""
        told = self.run.findings if self.run else []
        return {one["metric"]: Finding(**one) for one in told}

    @cached_property
    def curves(self) -> dict[str, list[Look]]:
        """Return what was known of each metric, look by look."""
        return analyses.curves(self.run, most=MOST_POINTS) if self.run else {}

    @cached_property
    def milestones(self) -> list[RolloutEvent]:
        """Return what happened to the traffic, oldest first."""
        return selectors.milestones(self.row, map(str, MILESTONES), most=MOST_MILESTONES)

    @cached_property
    def log(self) -> list[RolloutEvent]:
        """Return what happened, newest first."""
        return selectors.events(self.row, newest=LOG_ALL if self.whole_log else LOG_SHOWN)

    @cached_property
    def since(self) -> datetime:
        """Return where its charts begin."""
        return min(self.row.created_at - BEFORE, self.until - LEAST_SPAN)

    @cached_property
    def until(self) -> datetime:
        """Return where its charts end."""
        end = self.row.ended_at
        return self.now if end is None else min(self.now, end + AFTER)

    @cached_property
    def traffic(self) -> monitoring.Traffic:
        """Return what the endpoint's revisions did meanwhile, counted from its beginning."""
        minutes = int((self.until - self.since).total_seconds() // 60) + 1
        return monitoring.traffic(
            self.actor, self.row.endpoint, minutes=minutes, now=self.until,
            totals_since=self.row.created_at,
        )  # fmt: skip

    def may(self, verb: str) -> bool:
        """Return whether the reader may do `verb` to this rollout."""
        team, place = self.row.endpoint.model.team.slug, self.row.endpoint.environment.slug
        return access.allows(self.actor, f"rollouts.{verb}", team=team, environment=place)


def ready_of(revision: Revision) -> int:
    """Return how many of a revision's replicas were last seen to be ready."""
    return sum(r.get("state") == ReplicaState.READY for r in revision.observed_replicas)
