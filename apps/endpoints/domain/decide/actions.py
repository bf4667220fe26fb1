"""What a pass over an endpoint may do."""

from dataclasses import dataclass
from datetime import timedelta

from apps.endpoints.domain.states import RevisionMove
from apps.endpoints.domain.values import Problem, Route, ServerSpec


@dataclass(frozen=True)
class PutRoute:
    """Put this route in force."""

    route: Route


@dataclass(frozen=True)
class RemoveRoute:
    """Let nothing answer at the address."""


@dataclass(frozen=True)
class StartServers:
    """Bring a revision's servers toward what it asks for."""

    spec: ServerSpec


@dataclass(frozen=True)
class StopServers:
    """Stop all of a revision's servers."""

    revision: str


@dataclass(frozen=True)
class WarmUp:
    """Make a revision's servers answer their first requests."""

    spec: ServerSpec


@dataclass(frozen=True)
class AskGolden:
    """Put the golden requests to a revision's servers."""

    spec: ServerSpec


@dataclass(frozen=True)
class Move:
    """Move one revision, because of `problem` where there is one."""

    revision: str
    move: RevisionMove
    problem: Problem | None = None


@dataclass(frozen=True)
class Settle:
    """Make a revision the live one, and let the one before it drain."""

    revision: str
    drained: str | None


@dataclass(frozen=True)
class End:
    """Nothing is left of a failed revision: leave it alone from now on."""

    revision: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do for `pause`; `problem` says what a revision waits for, where it waits."""

    pause: timedelta
    revision: str = ""
    problem: Problem | None = None


@dataclass(frozen=True)
class Rest:
    """Nothing to do until somebody asks for something."""


# A pass makes one call to the world, or writes down one thing.
Call = PutRoute | RemoveRoute | StartServers | StopServers | WarmUp | AskGolden
Note = Move | Settle | End | Wait | Rest
Action = Call | Note
