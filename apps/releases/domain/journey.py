"""What a release does next, computed from what its children have come to: pure.

Nobody pushes a release on. A worker's pass reads the build, the checklist, the request for
approval and the rollout, asks `decide` for one step, and takes it. Whatever instant a worker dies
at, the next pass reads again and comes to the same step.
"""

from dataclasses import dataclass
from enum import Enum

from apps.approvals.domain.states import RequestState
from apps.releases.domain.states import RELEASE, WAITING, ReleaseMove, ReleaseState
from apps.rollouts.domain.states import RolloutState

ASKED = frozenset({RequestState.OPEN, RequestState.GRANTED})


class BuildStanding(Enum):
    """What has come of building the version."""

    NONE = "none"
    RUNNING = "running"
    FAILED = "failed"
    READY = "ready"  # there is a variant that may be released


class ChecklistStanding(Enum):
    """What the required gates come to, together."""

    NONE = "none"  # no list was opened yet
    OPEN = "open"  # something is pending, unknown or failed
    PASSED = "passed"


class Ground(Enum):
    """Who has to say yes."""

    SEATS = "seats"  # the policy's seats
    NOBODY = "nobody"  # the policy asks for nobody
    EMERGENCY = "emergency"  # an operator broke the glass, and the time is not over
    ROLL_BACK = "roll_back"  # it goes back to what was approved before


@dataclass(frozen=True)
class Facts:
    """Everything that the next step depends on.

    Attributes:
        state: The release's.
        build: Of its version.
        variant_chosen: Whether the release knows which variant it is about.
        checklist: Of its gates.
        ground: Who has to say yes.
        request: The request in force or the last one; None before the first.
        same_digests: Whether that request is about what would be shipped now.
        same_authorized: Whether what was authorized is what would be shipped now.
        expired: Whether nobody has wanted it for too long.
        overtaken: Whether a newer release of the same endpoint has begun to move traffic, or is
            live there, and this one is not to come after it.
        sent_back: Whether that newer one goes back to what ran before this one.
        opening: Whether the environment accepts a rollout now: no freeze, inside a window.
        endpoint_busy: Whether another rollout moves the endpoint's traffic.
        busy_can_end: Whether that one can still be sent back.
        replaces: Whether the policy lets this release take that one's place.
        rollout: Of this release; None before it.
    """

    state: ReleaseState
    build: BuildStanding = BuildStanding.NONE
    variant_chosen: bool = False
    checklist: ChecklistStanding = ChecklistStanding.NONE
    ground: Ground = Ground.SEATS
    request: RequestState | None = None
    same_digests: bool = False
    same_authorized: bool = False
    expired: bool = False
    overtaken: bool = False
    sent_back: bool = False
    opening: bool = True
    endpoint_busy: bool = False
    busy_can_end: bool = False
    replaces: bool = False
    rollout: RolloutState | None = None


class Step(Enum):
    """The one thing that a pass does."""

    WAIT = "wait"
    REST = "rest"  # nothing will ever be done again
    CHOOSE_VARIANT = "choose_variant"
    OPEN_CHECKLIST = "open_checklist"
    ASK = "ask"
    VOID = "void"  # end the request: what it is about has changed
    START = "start"
    MAKE_WAY = "make_way"  # end the rollout that stands in the way
    WAIT_FOR_BUILD = "wait_for_build"
    AUTHORIZE = "authorize"
    BACK_TO_CHECKS = "back_to_checks"
    BACK_TO_APPROVAL = "back_to_approval"
    GO_LIVE = "go_live"
    ROLLED_BACK = "rolled_back"
    DECLINE = "decline"
    EXPIRE = "expire"
    SUPERSEDE = "supersede"


# What each step does to the release's own state; a step that is not here leaves it as it is.
MOVES = {
    Step.WAIT_FOR_BUILD: ReleaseMove.BUILD,
    Step.OPEN_CHECKLIST: ReleaseMove.CHECK,
    Step.VOID: ReleaseMove.CHECK,
    Step.BACK_TO_CHECKS: ReleaseMove.CHECK,
    Step.ASK: ReleaseMove.ASK,
    Step.BACK_TO_APPROVAL: ReleaseMove.ASK,
    Step.AUTHORIZE: ReleaseMove.AUTHORIZE,
    Step.START: ReleaseMove.START,
    Step.GO_LIVE: ReleaseMove.GO_LIVE,
    Step.ROLLED_BACK: ReleaseMove.ROLL_BACK,
    Step.DECLINE: ReleaseMove.DECLINE,
    Step.EXPIRE: ReleaseMove.EXPIRE,
    Step.SUPERSEDE: ReleaseMove.SUPERSEDE,
}


def decide(facts: Facts) -> Step:
    """Return the next step.

    Going back to what was approved before needs neither gates nor a yes; an emergency needs
    neither either, and is loud instead. Everything else is authorized only by passed gates and,
    where the policy has seats, by a granted request about exactly what would be shipped.
    """
    state = facts.state
    if state in RELEASE.terminal():
        return Step.REST
    if state is ReleaseState.LIVE:
        if facts.sent_back:
            return Step.ROLLED_BACK
        return Step.SUPERSEDE if facts.overtaken else Step.REST
    if state is ReleaseState.ROLLING_OUT:
        return _rolling_out(facts)
    if facts.overtaken:
        return Step.SUPERSEDE
    if facts.expired:
        return Step.EXPIRE
    if not facts.variant_chosen:
        return _building(facts)
    if facts.ground in (Ground.EMERGENCY, Ground.ROLL_BACK):
        return _past_the_gates(facts)
    return _governed(facts)


def may_start(facts: Facts) -> bool:
    """Return whether everything that an authorization needs is so, at this moment.

    Asked again in the transaction that starts the rollout: what was so a second ago may have
    changed since.
    """
    if facts.state is not ReleaseState.AUTHORIZED or not facts.same_authorized:
        return False
    if facts.ground in (Ground.EMERGENCY, Ground.ROLL_BACK):
        return True
    return facts.opening and _permitted(facts)


def _rolling_out(facts: Facts) -> Step:
    match facts.rollout:
        case RolloutState.PROMOTED:
            return Step.GO_LIVE
        case RolloutState.ROLLED_BACK | RolloutState.CANCELLED:
            return Step.ROLLED_BACK
        case _:
            return Step.WAIT


def _building(facts: Facts) -> Step:
    if facts.build is BuildStanding.READY:
        return Step.CHOOSE_VARIANT
    return Step.WAIT_FOR_BUILD if facts.state is ReleaseState.PROPOSED else Step.WAIT


def _past_the_gates(facts: Facts) -> Step:
    if facts.state is not ReleaseState.AUTHORIZED:
        return Step.AUTHORIZE
    if not facts.same_authorized:
        return Step.BACK_TO_CHECKS
    # A freeze holds neither back, nor does a rollout: what runs does not run well.
    if not facts.endpoint_busy:
        return Step.START
    return Step.MAKE_WAY if facts.busy_can_end else Step.WAIT


def _governed(facts: Facts) -> Step:
    asked = facts.request in ASKED
    if facts.checklist is ChecklistStanding.NONE:
        return Step.OPEN_CHECKLIST
    if facts.state in (ReleaseState.PROPOSED, ReleaseState.BUILDING):
        return Step.BACK_TO_CHECKS
    if asked and (not facts.same_digests or facts.ground is Ground.NOBODY):
        return Step.VOID
    if facts.checklist is ChecklistStanding.OPEN:
        return Step.WAIT if facts.state is ReleaseState.CHECKING else Step.BACK_TO_CHECKS
    if facts.state is ReleaseState.AUTHORIZED:
        return _authorized(facts)
    if facts.ground is Ground.NOBODY:
        return Step.AUTHORIZE
    return _asking(facts)


def _asking(facts: Facts) -> Step:
    match facts.request:
        case RequestState.GRANTED:
            return Step.AUTHORIZE if facts.state is ReleaseState.AWAITING_APPROVAL else Step.ASK
        case RequestState.OPEN:
            return Step.WAIT if facts.state is ReleaseState.AWAITING_APPROVAL else Step.ASK
        case RequestState.DECLINED if facts.state is ReleaseState.AWAITING_APPROVAL:
            return Step.DECLINE
        case RequestState.EXPIRED if facts.state is ReleaseState.AWAITING_APPROVAL:
            return Step.EXPIRE
        case _ if facts.state is ReleaseState.CHECKING:
            return Step.ASK
        case _:
            return Step.BACK_TO_CHECKS


def _authorized(facts: Facts) -> Step:
    if not facts.same_authorized:
        return Step.BACK_TO_CHECKS
    if not _permitted(facts):
        return Step.BACK_TO_APPROVAL if facts.request in ASKED else Step.BACK_TO_CHECKS
    if not facts.opening:
        return Step.WAIT
    if facts.endpoint_busy:
        return Step.MAKE_WAY if facts.busy_can_end and facts.replaces else Step.WAIT
    return Step.START


def _permitted(facts: Facts) -> bool:
    if facts.checklist is not ChecklistStanding.PASSED:
        return False
    if facts.ground is Ground.NOBODY:
        return True
    return facts.request is RequestState.GRANTED and facts.same_digests


def is_waiting(state: ReleaseState) -> bool:
    """Return whether a release has moved no traffic and may still do so."""
    return state in WAITING
