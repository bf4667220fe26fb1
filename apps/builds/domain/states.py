"""The life of a build, as a table."""

from enum import StrEnum

from controlplane.kernel.statemachine import StateMachine, from_any


class BuildState(StrEnum):
    """Where a build is in its life."""

    QUEUED = "queued"
    SCANNING = "scanning"
    PACKAGING = "packaging"
    CONVERTING = "converting"
    OPTIMISING = "optimising"
    PROVING = "proving"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BuildMove(StrEnum):
    """What may happen to a build."""

    SCAN = "scan"
    PACKAGE = "package"
    CONVERT = "convert"
    OPTIMISE = "optimise"
    PROVE = "prove"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"


S, M = BuildState, BuildMove
WORKING = [S.SCANNING, S.PACKAGING, S.CONVERTING, S.OPTIMISING, S.PROVING]

BUILD = StateMachine(
    name="build",
    initial=S.QUEUED,
    table={
        M.SCAN: (from_any([S.QUEUED]), S.SCANNING),
        M.PACKAGE: (from_any([S.SCANNING]), S.PACKAGING),
        M.CONVERT: (from_any([S.PACKAGING]), S.CONVERTING),
        M.OPTIMISE: (from_any([S.CONVERTING]), S.OPTIMISING),
        M.PROVE: (from_any([S.OPTIMISING]), S.PROVING),
        M.SUCCEED: (from_any([S.PROVING]), S.SUCCEEDED),
        M.FAIL: (from_any([S.QUEUED, *WORKING]), S.FAILED),
        M.CANCEL: (from_any([S.QUEUED, *WORKING]), S.CANCELLED),
        M.RETRY: (from_any([S.FAILED, S.CANCELLED]), S.QUEUED),
    },
)
