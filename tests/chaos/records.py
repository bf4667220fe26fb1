"""What is written down while chaos reigns: values only, for `verdict` to judge afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Fate(StrEnum):
    """How a rollout is meant to end, and why."""

    GOOD = "good"  # nothing is wrong with it: promoted
    FAILS = "fails"  # its answers fail: a hard limit sends it back
    CRASHES = "crashes"  # its server is killed, and once is too often: sent back
    ABORTED = "aborted"  # a person aborts it


ENDS: Mapping[Fate, str] = {
    Fate.GOOD: "promoted",
    Fate.FAILS: "rolled_back",
    Fate.CRASHES: "rolled_back",
    Fate.ABORTED: "rolled_back",
}


@dataclass(frozen=True)
class Place:
    """One endpoint of the play."""

    model: str
    environment: str
    address: str

    def __str__(self) -> str:
        return f"{self.model} in {self.environment}"


@dataclass(frozen=True)
class Asked:
    """One request, and what came of it.

    Attributes:
        at: When it was sent.
        place: To whom.
        version: Who answered; 0 for nobody, or not rightly.
        cause: Why nobody did, such as "503" or "ConnectError"; "" for a right answer.
        poisoned: The version that it was meant to make fail; 0 for none.
    """

    at: datetime
    place: Place
    version: int
    cause: str = ""
    poisoned: int = 0


@dataclass(frozen=True)
class Kill:
    """One process that was killed.

    Attributes:
        at: When.
        kind: "worker", "pool", "candidate" and so on.
        pid: The process.
        back: Seconds until another one did its work; None when nobody waited for that.
    """

    at: datetime
    kind: str
    pid: int
    back: float | None = None


@dataclass(frozen=True)
class Sample:
    """One look at one rollout, in one statement.

    Attributes:
        at: When the statement began.
        rollout: Its public id.
        state: The rollout's.
        step: The index of its step.
        weight: What the candidate was last observed to answer, in percent.
    """

    at: datetime
    rollout: str
    state: str
    step: int
    weight: int


@dataclass(frozen=True)
class Event:
    """One line of a rollout's log."""

    at: datetime
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Played:
    """One rollout, when everything is over.

    Attributes:
        place: Of its endpoint.
        fate: What it was meant to come to.
        stable: The version before it.
        candidate: The version that it brought.
        rungs: Weight and hold (seconds) of each step.
        rollout: Its public id.
        state: Its state.
        reason: Why it is in that state.
        release: The state of its release.
        superseded: Whether a later release of its endpoint is live.
        last: Whether it was the last of its endpoint.
        events: Its log, oldest first.
        verbs: What the ledger says was done to it, in order.
        samples: What was seen of it meanwhile.
        ended_at: When it had ended.
        until: When the next one of its endpoint was begun; the end of the play for the last.
        serves: Who answers at its endpoint in the end, of ten requests; only for the last one.
    """

    place: Place
    fate: Fate
    stable: int
    candidate: int
    rungs: Sequence[tuple[int, float]]
    rollout: str
    state: str
    reason: str
    release: str
    superseded: bool
    last: bool
    events: Sequence[Event]
    verbs: Sequence[str]
    samples: Sequence[Sample]
    ended_at: datetime | None
    until: datetime
    serves: Sequence[int] = ()
