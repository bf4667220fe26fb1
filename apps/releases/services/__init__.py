"""A person's verbs on releases: each is one transaction, one lock, one ledger entry.

None of them moves a release on by itself: they write what was meant, and the next pass of a
worker, a moment later, computes what follows.
"""

from apps.releases.services.deciding import (
    approve,
    comment,
    decline,
    request_changes,
    take_back,
)
from apps.releases.services.emergencies import break_glass, review, roll_back
from apps.releases.services.proposing import promote, propose, revise, withdraw

__all__ = [
    "approve",
    "break_glass",
    "comment",
    "decline",
    "promote",
    "propose",
    "request_changes",
    "review",
    "revise",
    "roll_back",
    "take_back",
    "withdraw",
]
