"""Who did it, and what they were given."""

from dataclasses import dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    """What sort of thing acted."""

    PERSON = "person"
    TOKEN = "token"  # noqa: S105
    WORKER = "worker"
    ANONYMOUS = "anonymous"


class Role(StrEnum):
    """What a person may be in a team or an environment.

    Roles are names for sets of verbs, not ranks: a reviewer may approve and may not deploy.
    """

    VIEWER = "viewer"
    CONTRIBUTOR = "contributor"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True)
class Grant:
    """One role, everywhere or within one team or one environment.

    Attributes:
        role: What is granted.
        team: The team's slug it is limited to; None for every team.
        environment: The environment's slug it is limited to; None for every environment.
    """

    role: Role
    team: str | None = None
    environment: str | None = None


@dataclass(frozen=True)
class Actor:
    """One name for whoever acts: a person, an API token, or a worker.

    Every write names its actor, so a change made in the background is recorded as
    carefully as one made from a browser.

    Attributes:
        kind: What sort of thing acts.
        name: The name the ledger shows ("ada", "ada/ci-token", "worker:builds").
        person_id: The person behind it, when there is one.
        grants: What it was given; a token's are never more than its owner's.
        verbs: For a token, the verbs it is limited to; None for no limit.
    """

    kind: ActorKind
    name: str
    person_id: int | None = None
    grants: frozenset[Grant] = frozenset()
    verbs: frozenset[str] | None = None


ANONYMOUS = Actor(ActorKind.ANONYMOUS, "anonymous")


def worker(name: str) -> Actor:
    """Return the actor for background work called `name`."""
    return Actor(ActorKind.WORKER, f"worker:{name}")
