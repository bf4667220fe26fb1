"""The policies a fresh house begins with, and what an environment made later gets: pure.

Every gate stands in every environment, so that nobody learns of one in production first; what
differs is which of them stop a release. A medium model reaches production on what the house
measures by itself (scan, digests, signature, parity, golden requests, room). A high one needs a
declared objective that a load test held, better quality than what is live, a complete card and
somebody to page; a critical one needs everything, and a rehearsed way back.
"""

from collections.abc import Mapping
from datetime import timedelta

from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.policy import (
    OWNER,
    ApprovalRules,
    EmergencyRules,
    GateRule,
    PolicyDocument,
    Seat,
    WaiverRules,
)
from apps.registry.domain.kinds import RiskTier
from controlplane.kernel.actor import Role

DEV = ("artifact.scanned", "artifact.digest", "variant.parity")
STAGING = (*DEV, "signature.present", "signature.compatible")
PRODUCTION = (*STAGING, "quality.finite", "golden.answered", "quota.fits")
HIGH = (
    *PRODUCTION, "artifact.pickle", "artifact.dependencies", "card.complete", "quality.better",
    "objective.declared", "load.objective", "oncall.reachable",
)  # fmt: skip
CRITICAL = (
    *HIGH, "artifact.licences", "model.fresh", "rollback.rehearsed", "monitoring.proven",
    "runbook.fresh", "data.skew", "drift.baseline", "score.minimum",
)  # fmt: skip
# Required nowhere: a freeze stops the rollout itself, and a gate that turns with the calendar
# would void approvals every weekend. It is listed so that reviewers see it.
ADVISORY = ("environment.open",)
# Listed only where it is required: elsewhere it comes by itself as soon as a minimum is set.
SCORE = "score.minimum"
DAYS: Mapping[str, int] = {"rollback.rehearsed": 30}  # where the gate's own limit is not meant

REQUIRED: Mapping[str, Mapping[RiskTier, tuple[str, ...]]] = {
    "dev": dict.fromkeys(RiskTier, DEV),
    "staging": dict.fromkeys(RiskTier, STAGING),
    "production": {
        RiskTier.LOW: PRODUCTION,
        RiskTier.MEDIUM: PRODUCTION,
        RiskTier.HIGH: HIGH,
        RiskTier.CRITICAL: CRITICAL,
    },
}
LEAD = Seat("Owner's lead", (Role.REVIEWER,), OWNER)
OPERATIONS = Seat("Operations", (Role.OPERATOR,))
SEATS: Mapping[RiskTier, tuple[Seat, ...]] = {
    RiskTier.LOW: (LEAD,),
    RiskTier.MEDIUM: (LEAD,),
    RiskTier.HIGH: (LEAD, OPERATIONS),
    RiskTier.CRITICAL: (LEAD, OPERATIONS),
}
LONGEST_WAIVER: Mapping[RiskTier, int] = {
    RiskTier.LOW: 30,
    RiskTier.MEDIUM: 14,
    RiskTier.HIGH: 14,
    RiskTier.CRITICAL: 7,
}


def default_policy(environment: str, risk_tier: RiskTier, *, protected: bool) -> PolicyDocument:
    """Return the policy of an environment nobody wrote one for.

    Args:
        environment: Its slug; dev, staging and production have policies of their own.
        risk_tier: How much harm a wrong prediction can do.
        protected: Whether only operators serve there. Any other environment that is protected is
            ruled like production, and one that is not like staging.
    """
    like = environment if environment in REQUIRED else "production" if protected else "staging"
    return _production(risk_tier) if like == "production" else _open(REQUIRED[like][risk_tier])


def _open(required: tuple[str, ...]) -> PolicyDocument:
    """Return a policy that asks nobody: its gates alone decide."""
    return PolicyDocument(
        gates=_rules(required),
        approvals=ApprovalRules(seats=()),
        waivers=WaiverRules(longest=timedelta(days=30)),
    )


def _production(risk_tier: RiskTier) -> PolicyDocument:
    is_critical = risk_tier is RiskTier.CRITICAL
    return PolicyDocument(
        gates=_rules(REQUIRED["production"][risk_tier]),
        minimum_score=1.0 if is_critical else 0.0,
        approvals=ApprovalRules(seats=SEATS[risk_tier]),
        waivers=WaiverRules(longest=timedelta(days=LONGEST_WAIVER[risk_tier])),
        emergency=EmergencyRules(
            allowed=True,
            lasts=timedelta(hours=24),
            review_within=timedelta(hours=24 if is_critical else 72),
        ),
    )


def _rules(required: tuple[str, ...]) -> tuple[GateRule, ...]:
    return tuple(
        GateRule(
            gate=gate,
            required=gate in required,
            max_age=timedelta(days=DAYS[gate]) if gate in DAYS else None,
        )
        for gate in CATALOGUE
        if gate in required or gate != SCORE
    )
