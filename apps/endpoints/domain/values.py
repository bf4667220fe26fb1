"""What is asked of model servers and of the proxy, and what is seen of them. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

WHOLE = 100  # percent: all of an endpoint's requests


@dataclass(frozen=True)
class Problem:
    """Why something is not as it should be.

    Attributes:
        code: Stable, dotted ("server.failed").
        sentence: What is so; for a server that failed, with its own words.
        remedy: What to do about it.
    """

    code: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class ServerSpec:
    """The model servers that one revision asks for.

    Attributes:
        revision: The revision's public id.
        generation: The endpoint's; a driver refuses a command older than the last it took.
        name: The model's name in the protocol: the endpoint's.
        number: The revision's number: the model's version in the protocol.
        digest: The bundle to serve.
        runtime: A name in the runtime catalogue.
        replicas: How many processes.
        configuration: The runtime's settings.
    """

    revision: str
    generation: int
    name: str
    number: int
    digest: str
    runtime: str
    replicas: int
    configuration: Mapping[str, Any] = field(default_factory=dict)


class ReplicaState(StrEnum):
    """What one replica is seen to be."""

    MISSING = "missing"  # asked for, and not there
    STARTING = "starting"  # up, or coming up, and not ready
    READY = "ready"
    CRASHING = "crashing"  # ended, and about to be started again
    FAILED = "failed"  # ended too often, or in a way that another start cannot mend


@dataclass(frozen=True)
class Replica:
    """One replica, as seen.

    Attributes:
        index: 0, 1, ... within the revision.
        port: On this machine; None before it has one.
        pid: Of the process; None while there is none.
        state: What it is.
        since: When it came into that state, in seconds since 1970; 0 when unknown.
    """

    index: int
    port: int | None
    pid: int | None
    state: ReplicaState
    since: float = 0


@dataclass(frozen=True)
class Servers:
    """The model servers of one revision, as seen.

    Attributes:
        generation: Of the last command that was taken.
        replicas: By index.
        problem: What went wrong last, in the server's own words; None when nothing did.
    """

    generation: int
    replicas: tuple[Replica, ...] = ()
    problem: Problem | None = None

    def ready_ports(self, *, below: int) -> tuple[int, ...]:
        """Return the ports of the ready replicas whose index is under `below`."""
        return tuple(
            r.port
            for r in self.replicas
            if r.state is ReplicaState.READY and r.port is not None and r.index < below
        )


@dataclass(frozen=True)
class Golden:
    """How a revision's own servers answered its golden requests.

    Attributes:
        asked: Requests made, over all replicas.
        answered: Requests whose answer was the expected one, within tolerance.
        digest: The bundle that the servers say they serve.
        problem: The first that went wrong, as a sentence; "" when none did.
        example: The inputs of the first golden request, for whoever wants to try the endpoint.
    """

    asked: int
    answered: int
    digest: str
    problem: str = ""
    example: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Share:
    """One revision's part in an endpoint's traffic.

    Attributes:
        number: The revision's number.
        weight: Percent of requests, 0-100.
        ports: Its ready replicas on this machine.
    """

    number: int
    weight: int
    ports: tuple[int, ...]


class StickyBy(StrEnum):
    """What a caller is recognised by, so that it stays on one side of a split."""

    HEADER = "header"
    COOKIE = "cookie"


@dataclass(frozen=True)
class Sticky:
    """What keeps a caller on one side of a split.

    The value is hashed; a caller without the header is placed anew each time, one without the
    cookie is given one.

    Attributes:
        by: Header or cookie.
        name: Its name ("x-user-id").
    """

    by: StickyBy
    name: str


@dataclass(frozen=True)
class Segment:
    """Requests that are split by weights of their own.

    Attributes:
        header: The header they are told by ("x-region").
        value: Its exact value.
        weight: Percent of these requests that the candidate answers, 0-100.
    """

    header: str
    value: str
    weight: int


@dataclass(frozen=True)
class Trial:
    """How requests are split between the live revision and a candidate, as a rollout asks.

    Attributes:
        candidate: The number of the revision on trial.
        weight: Percent of requests that it answers, 0-100.
        mirror: Percent of requests that are copied to it; its answers to those go nowhere.
        preview: Whether it answers at the preview address.
        sticky: What keeps a caller on one side; None lets chance decide for each request.
        segments: Those that are split otherwise than the rest.
        alone: Whether the live revision's servers stop to make room for it, with an outage.
        waits: Whether nothing of it is to be started yet.
        settle: Whether it becomes the live one once it is seen to answer everything.
        faulty: Whether requests at the preview address are made to fail, for a rehearsal.
    """

    candidate: int
    weight: int = 0
    mirror: int = 0
    preview: bool = False
    sticky: Sticky | None = None
    segments: tuple[Segment, ...] = ()
    alone: bool = False
    waits: bool = False
    settle: bool = False
    faulty: bool = False


@dataclass(frozen=True)
class Route:
    """An endpoint's address, and where its requests go.

    Attributes:
        endpoint: The endpoint's public id.
        generation: The endpoint's; an older one is refused.
        environment: First part of the address.
        name: Second part of the address, and the model's name in the protocol.
        shares: By revision number. Weights add up to 100, or to 0 when nobody can answer.
        unavailable: The sentence for callers while nobody can answer.
        timeout_ms: How long a caller waits at most.
        max_request_bytes: The largest request that is taken.
        admitted: Names of the keys that are let in; None lets everybody in.
        candidate: The number of the revision on trial; None when there is none. What follows is
            about it.
        mirror: Percent of requests that are copied to it, 0-100; both servers are then asked to
            remember their answers.
        preview: Whether it answers at the preview address, below the endpoint's own.
        sticky: What keeps a caller on one side of the split; None lets chance decide.
        segments: Requests that are split otherwise than the rest, looked at in this order.
        faulty: Whether requests at the preview address get too little time to be answered; callers
            of the endpoint's own address notice nothing.
    """

    endpoint: str
    generation: int
    environment: str
    name: str
    shares: tuple[Share, ...]
    unavailable: str
    timeout_ms: int
    max_request_bytes: int
    admitted: tuple[str, ...] | None
    candidate: int | None = None
    mirror: int = 0
    preview: bool = False
    sticky: Sticky | None = None
    segments: tuple[Segment, ...] = ()
    faulty: bool = False

    def weight_of(self, number: int) -> int:
        """Return the percent of requests that revision `number` gets."""
        return next((s.weight for s in self.shares if s.number == number), 0)

    def serves(self) -> bool:
        """Return whether anybody answers."""
        return any(s.weight for s in self.shares)


@dataclass(frozen=True)
class RouteSeen:
    """What the proxy really does for one endpoint.

    Attributes:
        route: Read back from the proxy; None when it knows nothing of the endpoint.
        intact: Whether everything in force, down to the last detail, is what `route` means.
    """

    route: Route | None = None
    intact: bool = True


@dataclass(frozen=True)
class RevisionFacts:
    """One revision that has not ended: what was asked, and what was remembered of it.

    Attributes:
        state_since: When it came into its state.
        spec: What it asks of model servers.
        memory_mb: An estimate of what one replica takes.
        seconds_to_start: How long a replica may take to be ready.
        warmed: Whether its servers have answered our first requests.
        golden: How they answered the golden requests; None before they were asked.
        weight: Percent of requests it was last observed to get.
        weight_since: When that was first observed.
        was_live: Whether it ever was the live one.
    """

    number: int
    state: str
    state_since: datetime
    spec: ServerSpec
    memory_mb: int
    seconds_to_start: float
    warmed: bool = False
    golden: Golden | None = None
    weight: int = 0
    weight_since: datetime | None = None
    was_live: bool = False


@dataclass(frozen=True)
class Prediction:
    """What came of a prediction.

    Attributes:
        body: The inference response of the Open Inference Protocol.
        milliseconds: From sending the request to having the answer.
        revision: The number of the revision that answered; None when it did not say.
        request_id: The correlation id that the proxy gave back.
    """

    body: Mapping[str, Any]
    milliseconds: float
    revision: int | None
    request_id: str
