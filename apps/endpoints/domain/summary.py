"""What an endpoint is, in one word, from what its revisions are. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from apps.endpoints.domain.decide import ON_ITS_WAY
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import ReplicaState


class EndpointState(StrEnum):
    """What an endpoint is, for a person."""

    LIVE = "live"  # answers, with every replica it should have
    DEGRADED = "degraded"  # answers, with fewer
    DOWN = "down"  # has a live revision, and nobody answers
    STARTING = "starting"  # its first revision is on its way
    FAILED = "failed"  # its last revision failed, and none is live
    RETIRED = "retired"


@dataclass(frozen=True)
class Part:
    """One revision, as far as the word for its endpoint depends on it."""

    state: str
    replicas: int
    observed: tuple[str, ...]  # the states of its replicas


def endpoint_state(*, retired: bool, parts: Iterable[Part]) -> EndpointState:
    """Return the word for an endpoint.

    Args:
        retired: Whether nothing should answer any more.
        parts: Its revisions that have not ended, and the newest one.
    """
    if retired:
        return EndpointState.RETIRED
    revisions = list(parts)
    live = next((p for p in revisions if p.state == RevisionState.LIVE), None)
    if live is None:
        coming = any(p.state in ON_ITS_WAY for p in revisions)
        return EndpointState.STARTING if coming or not revisions else EndpointState.FAILED
    ready = sum(state == ReplicaState.READY for state in live.observed)
    if not ready:
        return EndpointState.DOWN
    return EndpointState.LIVE if ready >= live.replicas else EndpointState.DEGRADED
