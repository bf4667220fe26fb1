"""How a release stands: everything its next step depends on, read at one moment.

Nothing here writes. A worker's pass, the verbs and the pages all look through these eyes, so none
of them can think differently of the same release.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from apps.approvals.domain import digestset
from apps.approvals.domain.digestset import DigestSet
from apps.approvals.domain.states import RequestState
from apps.builds import selectors as builds
from apps.builds.domain.states import BuildState
from apps.builds.models import Variant
from apps.endpoints.domain import choice
from apps.environments import selectors as environments
from apps.environments.domain.calendar import Opening
from apps.gates import selectors as gates
from apps.gates.domain import policy as policies
from apps.gates.domain.evaluate import ChecklistVerdict
from apps.gates.models import Policy
from apps.gates.selectors import ChecklistStanding
from apps.releases.domain import journey
from apps.releases.domain.journey import BuildStanding, Facts, Ground
from apps.releases.domain.states import WAITING, ReleaseState
from apps.releases.models import Release
from apps.rollouts import selectors as rollouts
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.models import Rollout
from controlplane.kernel import digests
from controlplane.kernel.errors import Conflict, ControlPlaneError

MOVING = (ReleaseState.ROLLING_OUT, ReleaseState.LIVE)


@dataclass
class Standing:
    """One release at one moment; each part is read when it is first asked for.

    Attributes:
        row: With its version, model, team, variant, environment, checklist, request, rollout.
        now: The moment.
    """

    row: Release
    now: datetime

    @cached_property
    def policy(self) -> Policy:
        """Return the policy in force for its environment and its model's risk tier."""
        return gates.policy_in_force(self.row.environment, self.row.version.model.risk_tier)

    @cached_property
    def rules(self) -> policies.PolicyDocument:
        """Return what that policy says."""
        return policies.parse(self.policy.document)

    @cached_property
    def checklist(self) -> ChecklistStanding | None:
        """Return how its gates stand; None before they were listed."""
        if self.row.checklist is None:
            return None
        return gates.standing(self.row.checklist, now=self.now)

    @cached_property
    def opening(self) -> Opening:
        """Return whether its environment accepts a rollout now."""
        return environments.opening(self.row.environment, self.now)

    @cached_property
    def sealed(self) -> DigestSet | None:
        """Return what an approval would sign now; None while there is no variant."""
        return digestset.seal(self._content()) if self.row.variant is not None else None

    @property
    def variant(self) -> Variant:
        """Return the variant that it is about.

        Raises:
            Conflict: It has none yet.
        """
        if self.row.variant is None:
            raise _nothing_to_ship(self.row)
        return self.row.variant

    @property
    def seal(self) -> DigestSet:
        """Return what an approval would sign now.

        Raises:
            Conflict: It has no variant yet.
        """
        if self.sealed is None:
            raise _nothing_to_ship(self.row)
        return self.sealed

    @cached_property
    def ground(self) -> Ground:
        """Return who has to say yes."""
        if self.row.returns_to_id is not None:
            return Ground.ROLL_BACK
        until = self.row.emergency_until
        if self.row.emergency_by and until is not None and self.now < until:
            return Ground.EMERGENCY
        return Ground.SEATS if self.rules.approvals.seats else Ground.NOBODY

    @cached_property
    def facts(self) -> Facts:
        """Return everything that the next step depends on."""
        row = self.row
        state = ReleaseState(row.state)
        if state is ReleaseState.ROLLING_OUT:
            moving = row.rollout
            return Facts(state, rollout=RolloutState(moving.state) if moving else None)
        overtaker = self._overtaker()
        overtaken = overtaker is not None
        sent_back = overtaker is not None and overtaker.returns_to_id is not None
        if state not in WAITING:
            return Facts(state, overtaken=overtaken, sent_back=sent_back)
        digest = self.sealed.digest if self.sealed else ""
        request = row.request
        return Facts(
            state,
            build=self._build(),
            variant_chosen=row.variant_id is not None,
            checklist=self._gates(),
            ground=self.ground,
            request=RequestState(request.state) if request else None,
            same_digests=request is not None and bool(digest) and request.digest == digest,
            same_authorized=bool(digest) and row.digest == digest,
            expired=row.expires_at <= self.now,
            opening=self.opening.open,
            endpoint_busy=self.busy is not None,
            busy_can_end=self.busy is not None and rollouts.can_end(self.busy),
            replaces=self._replaces(),
            overtaken=overtaken,
            sent_back=sent_back,
        )

    @cached_property
    def busy(self) -> Rollout | None:
        """Return the rollout that moves the endpoint's traffic now, if one does."""
        return rollouts.active(self.row.version.model_id, self.row.environment_id)

    def _replaces(self) -> bool:
        """Return whether the policy lets it take the place of the older one in the way."""
        other = self.busy
        if other is None or self.rules.supersede == "wait":
            return False
        return other.release_number is not None and other.release_number < self.row.number

    def _content(self) -> dict[str, Mapping[str, Any]]:
        """Return what is shipped, and on what ground.

        Past the gates there is neither a policy nor a checklist to sign.
        """
        row, variant = self.row, self.variant
        proof = digests.of_bytes(digests.canonical({"proof": variant.proof}))
        content: dict[str, Mapping[str, Any]] = {
            "manifest": {"digest": row.version.manifest_digest},
            "variant": {
                "kind": variant.kind,
                "verdict": variant.verdict,
                "proof": proof,
            },
            "bundle": {"digest": variant.bundle_digest},
            "configuration": configuration(row),
            "strategy": row.strategy,
        }
        if self.ground in (Ground.EMERGENCY, Ground.ROLL_BACK):
            return content
        return content | {
            "policy": {
                "environment": row.environment.slug,
                "risk_tier": self.policy.risk_tier,
                "version": self.policy.number,
                "document": digests.of_bytes(digests.canonical(self.policy.document)),
            },
            "gates": signed_gates(self.checklist),
        }

    def _gates(self) -> journey.ChecklistStanding:
        if self.checklist is None:
            return journey.ChecklistStanding.NONE
        current = self.checklist.policy.pk == self.policy.pk
        passed = self.checklist.verdict is ChecklistVerdict.PASSED
        listed = journey.ChecklistStanding
        return listed.PASSED if passed and current else listed.OPEN

    def _build(self) -> BuildStanding:
        if self.row.variant_id is not None:
            return BuildStanding.READY
        made = builds.latest_build(self.row.version_id)
        if made is None:
            return BuildStanding.NONE
        if made.state not in builds.ENDED:
            return BuildStanding.RUNNING
        if made.state != BuildState.SUCCEEDED:
            return BuildStanding.FAILED
        try:
            choose_variant(self.row)
        except ControlPlaneError:
            return BuildStanding.FAILED
        return BuildStanding.READY

    def _overtaker(self) -> Release | None:
        """Return the newest release of this endpoint that began to move traffic after this one."""
        row = self.row
        newer = Release.objects.filter(
            version__model=row.version.model_id, environment=row.environment_id,
            number__gt=row.number,
        )  # fmt: skip
        if row.state == ReleaseState.LIVE:
            newer = newer.filter(state=ReleaseState.LIVE)
        elif self.rules.supersede == "wait":
            return None
        else:
            newer = newer.filter(state__in=MOVING)
        return newer.order_by("-number").first()


def configuration(row: Release) -> dict[str, Any]:
    """Return what would be served: the runtime, how many of it, and its settings."""
    return {
        "runtime": row.runtime,
        "replicas": row.replicas,
        "settings": dict(row.configuration),
    }


def signed_gates(checklist: ChecklistStanding | None) -> dict[str, str]:
    """Return what an approval signs of the gates: those that could stop the release.

    Advice is shown, not signed: a fresh measurement of it must not void anybody's yes.
    """
    if checklist is None:
        return {}
    return {view.gate: view.signed for view in checklist.gates if view.required}


def choose_variant(row: Release) -> Variant:
    """Return the variant that a release is about: the one asked for, or the best that may ship.

    Raises:
        Missing: The version has no such variant.
        Conflict: None of its variants may be served, or the named one may not.
    """
    rows = {v.pk: v for v in builds.servable(row.version_id)}
    candidates = [
        choice.Candidate(
            id=v.pk, kind=v.kind, state=v.state, verdict=v.verdict, reason=v.reason,
            p50_ms=v.p50_ms, runtimes=tuple(v.runtimes),
        )
        for v in rows.values()
    ]  # fmt: skip
    first = environments.in_order().values_list("pk", flat=True)[0]
    chosen = choice.choose(
        candidates, kind=row.variant_kind, lossy_allowed=row.environment_id == first
    )
    return rows[chosen.id]


def _nothing_to_ship(row: Release) -> Conflict:
    return Conflict(
        f"R-{row.number} has no variant to ship yet.",
        remedy="Wait for the build of its version, or look at why it failed.",
        code="releases.not_built",
    )
