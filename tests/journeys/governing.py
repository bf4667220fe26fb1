"""What the journeys of governance share: a built model, and a policy with two seats."""

from pathlib import Path
from typing import Any

from controlplane.cli import journey, samples
from controlplane.cli.client import Client

POLICY = {
    "gates": [
        {"gate": "artifact.scanned"},
        {"gate": "artifact.digest"},
        {"gate": "variant.parity"},
        {"gate": "card.complete"},
    ],
    "approvals": {
        "seats": [
            {"title": "Owner's lead", "roles": ["reviewer"], "team": "owner"},
            {"title": "Operations", "roles": ["operator"]},
        ]
    },
    "emergency": {"allowed": True},
}
CARD = "\n".join(
    f"## {title}\nIt is a test of the whole way.\n"
    for title in ("Intended use", "Training data", "Evaluation", "Limitations")
)


def model(client: Client, folder: Path, name: str, *, card: str = CARD) -> int:
    """Return the number of a built version of a new model whose policy has two seats.

    The model is critical, so that no other journey is ruled by the same policy.
    """
    path = "/api/v1/policies/production/critical"
    client.put(path, {"document": POLICY, "reason": "For the journey."})
    trained = samples.wine(folder)
    version = journey.register(
        client, name, trained, team="platform", risk_tier="critical", card=card
    )
    journey.build(client, name, int(version["number"]))
    return int(version["number"])


def settled(client: Client, number: int, state: str, *, seconds: float = 90) -> dict[str, Any]:
    """Wait until a release is in a state, and return it."""
    return client.wait(
        f"/api/v1/releases/{number}", lambda row: row["state"] == state, seconds=seconds
    )
