"""One pass over a rollout: read what its candidate came to, and make one move.

1. Read the candidate; the endpoint's own loop drives it.
2. `decide` names a move, or none.
3. Make it, with its ledger entry, if the lease still holds.
"""

from datetime import datetime, timedelta

from django.db import transaction

from apps.audit import services as audit
from apps.endpoints.domain.states import RevisionState
from apps.rollouts.domain.decide import decide
from apps.rollouts.domain.states import ROLLOUT, RolloutMove, RolloutState
from apps.rollouts.models import Rollout
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import Claim
from controlplane.kernel.actor import worker
from controlplane.kernel.errors import ControlPlaneError

KIND = "rollout"
ACTOR = worker("rollouts")
LOOK_AGAIN = timedelta(seconds=1)
PARKED = timedelta(seconds=60)


class RolloutReconciler:
    """Drives one rollout."""

    def __call__(self, claim: Claim[Rollout], now: datetime) -> None:
        """Run one pass."""
        row = claim.row
        candidate = row.candidate
        state = RolloutState(row.state)
        move = decide(
            state, RevisionState(candidate.state), was_live=candidate.live_at is not None
        )
        if move is None:
            ended = state in ROLLOUT.terminal()
            claim.record(next_at=None if ended else now + LOOK_AGAIN, attempts=0)
            return
        _make(claim, move, now)

    def park(self, claim: Claim[Rollout], error: ControlPlaneError, now: datetime) -> None:
        """Say what is in the way, and look again later."""
        claim.record(next_at=now + PARKED, attempts=0, reason=error.sentence)


def _make(claim: Claim[Rollout], move: RolloutMove, now: datetime) -> None:
    row = claim.row
    state = ROLLOUT.after(RolloutState(row.state), move)
    ended = state in ROLLOUT.terminal()
    reason = row.candidate.problem if move is RolloutMove.ABORT else ""
    with transaction.atomic():
        held = claim.record(
            next_at=None if ended else now, attempts=0, state=state, state_since=now,
            ended_at=now if ended else None, reason=reason or row.reason,
        )  # fmt: skip
        if not held:
            return
        audit.record(
            actor=ACTOR,
            verb=f"rollouts.{move}",
            target=f"rollout/{row.public_id}",
            subject=f"{row.endpoint.name} in {row.endpoint.environment.slug}",
            before={"state": row.state},
            after={"state": str(state)},
            reason=reason,
        )
        announce(f"rollout/{row.public_id}")
        if not ended:
            nudge(KIND, row.pk)
