"""Which versions are built without being asked, and how strictly each is scanned."""

from apps.registry.domain.kinds import Format, RiskTier

# An import that nobody vouches for: harmless in a sandbox for what can do little harm, and a
# reason to stop where a wrong prediction can do much.
UNVOUCHED = {
    RiskTier.LOW: "allow",
    RiskTier.MEDIUM: "warn",
    RiskTier.HIGH: "block",
    RiskTier.CRITICAL: "block",
}
BUILDABLE = frozenset(
    {
        Format.ONNX,
        Format.SKLEARN,
        Format.XGBOOST,
        Format.LIGHTGBM,
        Format.TORCH_EXPORT,
        Format.TORCHSCRIPT,
        Format.MLFLOW,
        Format.PICKLE,
    }
)


def scan_policy(risk_tier: str) -> str:
    """Return what to do about imports nobody vouches for: allow, warn or block."""
    return UNVOUCHED[RiskTier(risk_tier)]
