"""The value that proves that a rollout may begin.

Only an approved release (or one that broke the glass, or goes back to what was approved before)
makes one, and a rehearsal, which no protected environment admits: an import contract lets nobody
but `apps.releases.authorizing` and `apps.rollouts.rehearsals` import this module, and nothing else
in the house moves traffic in a protected environment.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Ground(StrEnum):
    """Why a rollout may begin."""

    APPROVED = "approved"
    NO_APPROVAL_NEEDED = "no_approval_needed"  # the policy asks for nobody's
    EMERGENCY = "emergency"
    ROLL_BACK = "roll_back"
    REHEARSAL = "rehearsal"  # only where nothing is protected


@dataclass(frozen=True)
class Authorization:
    """The permission to run exactly these bytes, in this way, once.

    Attributes:
        release: The release's public id; a rehearsal has one of its own.
        digest: Of the digest set that was approved; "" for a rehearsal.
        bundle_digest: Of the only bundle that may be served by it.
        ground: Why.
        approval: The public id of the granted request; "" where there is none.
    """

    release: str
    digest: str
    bundle_digest: str
    ground: Ground
    approval: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return what a rollout's row keeps of it."""
        return {key: str(value) for key, value in asdict(self).items()}
