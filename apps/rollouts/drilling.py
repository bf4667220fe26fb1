"""What a rehearsal does in the world, and what its row remembers of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.endpoints import services as endpoints
from apps.endpoints.domain import keys
from apps.endpoints.models import Endpoint
from apps.endpoints.ports import Predictor
from apps.notifications import selectors as notifications
from apps.rollouts import telling
from apps.rollouts.domain.rehearsing import PADDING, Drill
from apps.rollouts.models import Rollout
from controlplane.kernel.errors import ControlPlaneError

SMALLER = 2  # times: the padding leaves room for the request around it


@dataclass(frozen=True)
class Asked:
    """What came of requests that were meant to fail.

    Attributes:
        sent: How many there were.
        failed: How many of them did fail.
    """

    sent: int = 0
    failed: int = 0


def of(row: Rollout) -> Drill:
    """Return how far a rehearsal has come."""
    fault_at = fault_began(row)
    return Drill(
        begun_at=row.state_since,
        fault_at=fault_at,
        sent=int(row.drill.get("sent", 0)),
        alarm_at=row.decided_at,
        told=row.decided_at is None or not notifications.arrival(telling.alarm(row)).waits,
    )


def fault_began(row: Rollout) -> datetime | None:
    """Return when the fault was injected; None before."""
    told = row.drill.get("fault_at")
    return datetime.fromisoformat(told) if told else None


def ask(predictor: Predictor, row: Rollout, count: int, *, now: datetime) -> Asked:
    """Send requests to the candidate's preview address; no caller asks there."""
    sent = failed = 0
    endpoint = row.endpoint
    key = _key(endpoint, now) if endpoint.key_required else ""
    for number in range(count):
        sent += 1
        try:
            predictor.predict(
                environment=endpoint.environment.slug, name=endpoint.name, body=_body(row),
                key=key, request_id=f"rehearsal-{row.public_id}-{number}", preview=True,
            )  # fmt: skip
        except ControlPlaneError:
            failed += 1
    return Asked(sent, failed)


def remembered(row: Rollout, asked: Asked) -> dict[str, Any]:
    """Return what the row remembers once those were sent as well."""
    return {
        **row.drill,
        "sent": int(row.drill.get("sent", 0)) + asked.sent,
        "failed": int(row.drill.get("failed", 0)) + asked.failed,
    }


def _body(row: Rollout) -> Mapping[str, Any]:
    """Return a request that is known to be answered, and is too much to read in no time."""
    size = min(PADDING, row.endpoint.max_request_bytes // SMALLER)
    inputs = row.candidate.golden.get("example") or []
    return {"inputs": list(inputs), "parameters": {"rehearsal": "x" * size}}


def _key(endpoint: Endpoint, now: datetime) -> str:
    expires = now + timedelta(seconds=keys.OWN_SECONDS)
    return keys.mint(
        endpoints.signing_seed(),
        name=keys.own_name(endpoint.public_id),
        expires=int(expires.timestamp()),
    )
