"""What guards one method at one address, and the words that rules are written in."""

from dataclasses import dataclass
from typing import Any

from apps.accounts.domain import access
from controlplane.kernel.actor import ANONYMOUS, Actor
from tests.api.house import ENVIRONMENT, TEAM

OPEN = "open to anybody"
SIGNED_IN = "anybody who is signed in"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MODEL, VERSION = "models/<str:name>", "models/<str:name>/versions/<int:number>"
RELEASE = "releases/<int:number>"
ROLLOUT = "rollouts/<str:rollout_id>"
WHERE, ALL_TEAMS = "team, environment", "everywhere, environment"
FAR = "2030-01-01T00:00:00Z"
FARTHER = "2030-02-01T00:00:00Z"
A_CHANNEL = {"name": "c", "transport": "webhook", "target": "https://hooks.example.org/x"}
POLICY = {"gates": [{"gate": "artifact.scanned"}], "approvals": {"seats": []}}
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}


@dataclass(frozen=True)
class Rule:
    """What guards one method at one address.

    Attributes:
        verb: A verb of the access table, or OPEN, or SIGNED_IN.
        within: "team" or "team, environment" when the limits of a grant count, "everywhere" when
            only an unlimited grant does, "" when a grant anywhere is enough.
        body: What is sent: a valid command, so that only access can refuse it.
    """

    verb: str
    within: str = ""
    body: dict[str, Any] | None = None

    def allows(self, actor: Actor) -> bool:
        """Return whether the access table lets `actor` through."""
        if self.verb == OPEN:
            return True
        if self.verb == SIGNED_IN:
            return actor is not ANONYMOUS
        team = TEAM if "team" in self.within else None
        environment = ENVIRONMENT if "environment" in self.within else None
        if "everywhere" in self.within:
            team, environment = access.EVERYWHERE, environment or access.EVERYWHERE
        return access.allows(actor, self.verb, team=team, environment=environment)


def read(app: str, within: str = "") -> dict[str, Rule]:
    return {"GET": Rule(f"{app}.read", within)}


def act(verb: str, within: str = "team", **body: Any) -> dict[str, Rule]:
    return {"POST": Rule(verb, within, body)}
