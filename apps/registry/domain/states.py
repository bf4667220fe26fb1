"""The life of a model version, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class VersionState(StrEnum):
    """Where a model version is in its life."""

    REGISTERED = "registered"
    VALIDATED = "validated"
    REJECTED = "rejected"
    ARCHIVED = "archived"


class VersionMove(StrEnum):
    """What may happen to a model version."""

    VALIDATE = "validate"
    REJECT = "reject"
    REOPEN = "reopen"
    ARCHIVE = "archive"
    RESTORE = "restore"


S, M = VersionState, VersionMove

VERSION = StateMachine(
    name="model version",
    initial=S.REGISTERED,
    table={
        # A build proved it, or found it unsafe; a later build may say otherwise.
        M.VALIDATE: (from_any([S.REGISTERED, S.VALIDATED, S.REJECTED]), S.VALIDATED),
        M.REJECT: (from_any([S.REGISTERED, S.VALIDATED, S.REJECTED]), S.REJECTED),
        M.REOPEN: (from_any([S.REJECTED]), S.REGISTERED),
        M.ARCHIVE: (from_any([S.REGISTERED, S.VALIDATED, S.REJECTED]), S.ARCHIVED),
        M.RESTORE: (from_any([S.ARCHIVED]), S.REGISTERED),
    },
)
