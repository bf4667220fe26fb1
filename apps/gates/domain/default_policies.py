"""The policies a fresh house begins with, and what an environment made later gets: pure.

Every gate stands in every environment, so that nobody learns of one in production first; what
differs is which of them stop a release. A medium model reaches production on what the house
measures by itself (scan, digests, signature, parity, golden requests). Above that, somebody must
have said what the model is for and what it must reach, and have rehearsed the way back.
"""

from collections.abc import Mapping
from datetime import timedelta

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

# How old evidence may be, where the gate's own limit is not meant.
DAYS: Mapping[str, int] = {"artifact.scanned": 30, "service.rollback_rehearsed": 30}

DEV = ("artifact.scanned", "artifact.digest", "variant.parity")
STAGING = (*DEV, "signature.compatible")
PRODUCTION = (*STAGING, "variant.finite", "service.golden", "environment.quota",
              "environment.freeze")  # fmt: skip
HIGH = (
    *PRODUCTION, "artifact.dependencies", "artifact.licences", "model.card",
    "model.better_than_live", "service.objective", "service.load", "service.rollback_rehearsed",
    "service.on_call",
)  # fmt: skip
CRITICAL = (
    *HIGH, "model.better_than_baseline", "model.age", "data.age", "monitoring.drift_baseline",
    "monitoring.proven", "service.runbook",
)  # fmt: skip
ADVISORY = ("data.skew",)  # measured once there is traffic to compare with
ALL = (*CRITICAL, *ADVISORY)

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
        for gate in ALL
    )
