"""What a rollout does next, given what its candidate has come to: pure."""

from apps.endpoints.domain.states import RevisionState
from apps.rollouts.domain.states import RolloutMove, RolloutState

COMING = frozenset(
    {
        RevisionState.PENDING,
        RevisionState.STARTING,
        RevisionState.WARMING,
        RevisionState.VERIFYING,
        RevisionState.SHIFTING,
    }
)


def decide(
    state: RolloutState, candidate: RevisionState, *, was_live: bool = False
) -> RolloutMove | None:
    """Return the one move to make now; None to wait.

    The endpoint's own loop brings the candidate up and moves the weight. A rollout reads what came
    of it: having been live is success, and any other end sends it back.

    Args:
        state: The rollout's.
        candidate: Its candidate's.
        was_live: Whether the candidate has ever been live: another may have followed it since.
    """
    arrived = was_live or candidate is RevisionState.LIVE
    match state:
        case RolloutState.PENDING:
            return RolloutMove.START
        case RolloutState.PROGRESSING if arrived:
            return RolloutMove.PROMOTE
        case RolloutState.PROMOTING if arrived:
            return RolloutMove.SETTLE
        case RolloutState.PROGRESSING | RolloutState.PROMOTING:
            return None if candidate in COMING else RolloutMove.ABORT
        case RolloutState.PAUSED:
            return None if arrived or candidate in COMING else RolloutMove.ABORT
        case RolloutState.ROLLING_BACK:
            return RolloutMove.RESTORE
        case _:
            return None
