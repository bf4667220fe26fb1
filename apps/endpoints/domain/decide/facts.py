"""What was asked of an endpoint, and what is seen: all that its next action follows from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.endpoints.domain.states import RevisionState as S
from apps.endpoints.domain.values import RevisionFacts, Route, RouteSeen, Servers, Trial

HOLD = timedelta(seconds=1)  # for how long a weight must be seen in place
KEEP_ALIVE = timedelta(seconds=60)  # for how long the last revision stays warm, if nobody says

ON_ITS_WAY = (S.PENDING, S.STARTING, S.WARMING, S.VERIFYING, S.SHIFTING)


@dataclass(frozen=True)
class EndpointFacts:
    """What was asked of an endpoint, and what is seen.

    Attributes:
        at: When it was looked at (UTC).
        retired: Whether nothing should answer any more.
        route: The endpoint's address, limits and keys; its shares are not looked at.
        revisions: All that have not ended, in the order of their numbers.
        seen: What the proxy does.
        servers: By revision public id, what is there of each.
        free_memory_mb: What new servers may take.
        trial: How a rollout wants requests split; None when there is none.
        keep_warm: For how long the last revision that was live stays warm.
    """

    at: datetime
    retired: bool
    route: Route
    revisions: tuple[RevisionFacts, ...]
    seen: RouteSeen
    servers: Mapping[str, Servers]
    free_memory_mb: int
    trial: Trial | None = None
    keep_warm: timedelta = KEEP_ALIVE

    def the(self, *states: S) -> RevisionFacts | None:
        """Return the newest revision in one of `states`."""
        return next((r for r in reversed(self.revisions) if r.state in states), None)

    def on_trial(self) -> Trial | None:
        """Return the trial, if it is about what is on its way."""
        candidate, wanted = self.the(*ON_ITS_WAY), self.trial
        if candidate is None or wanted is None or wanted.candidate != candidate.number:
            return None
        return wanted

    def makes_room(self) -> bool:
        """Return whether the live revision's servers go before the candidate's come."""
        trial = self.on_trial()
        return trial is not None and trial.alone and not trial.waits

    def ports(self, revision: RevisionFacts) -> tuple[int, ...]:
        """Return where a revision's servers that are ready listen."""
        servers = self.servers.get(revision.spec.revision)
        return servers.ready_ports(below=revision.spec.replicas) if servers else ()

    def seen_weight(self, revision: RevisionFacts) -> int:
        """Return the percent of requests that the proxy is seen to give a revision."""
        return self.seen.route.weight_of(revision.number) if self.seen.route else 0

    def held(self, revision: RevisionFacts, weight: int) -> bool:
        """Return whether a revision has been seen with this weight for `HOLD`."""
        since = revision.weight_since
        return revision.weight == weight and since is not None and self.at - since >= HOLD
