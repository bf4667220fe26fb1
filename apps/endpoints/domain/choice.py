"""Which variant of a version is served. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from apps.builds.domain.variants import ProofVerdict, VariantKind, VariantState
from controlplane.kernel.errors import Conflict, Missing

# What is taken without being named: forms that answer as the original does. Quantised ones are
# faster and differ, so somebody has to name them.
BY_DEFAULT = (VariantKind.ONNX_OPTIMISED, VariantKind.ONNX)
SLOWEST = float("inf")


@dataclass(frozen=True)
class Candidate:
    """A variant that could be served.

    Attributes:
        id: Its row.
        kind: Which form of the version it is.
        state: What came of making it.
        verdict: What its proof sheet says.
        reason: Why it was skipped or failed.
        p50_ms: Its median latency; None when not measured.
        runtimes: Names of the runtimes that can serve it, the best first.
    """

    id: int
    kind: str
    state: str
    verdict: str
    reason: str = ""
    p50_ms: float | None = None
    runtimes: tuple[str, ...] = field(default=())


def choose(candidates: Sequence[Candidate], *, kind: str = "", lossy_allowed: bool) -> Candidate:
    """Return the variant to serve: the named one, or the best that passed its proof.

    Args:
        candidates: The version's variants, the newest of each kind last.
        kind: The form that somebody named; "" for the best.
        lossy_allowed: Whether a named variant may have lost more than the model tolerates.

    Raises:
        Missing: The version has no such variant (`endpoint.no_variant`).
        Conflict: There is none that may be served, or the named one may not be.
    """
    newest = {c.kind: c for c in candidates}
    if kind:
        return _named(newest.get(kind), kind, sorted(newest), lossy_allowed=lossy_allowed)
    built = [c for c in newest.values() if c.state == VariantState.BUILT]
    passed = [c for c in built if c.kind in BY_DEFAULT and c.verdict == ProofVerdict.PASSED]
    if passed:
        return min(passed, key=lambda c: (_speed(c), BY_DEFAULT.index(VariantKind(c.kind))))
    native = next((c for c in built if c.kind == VariantKind.NATIVE), None)
    if native is not None and native.verdict != ProofVerdict.TOO_LOSSY:
        return native
    raise Conflict(
        "This version has no variant that can be served.",
        remedy="Build it first; its build page says what came of each variant.",
        field="variant",
        code="endpoint.not_built",
    )


def _speed(candidate: Candidate) -> float:
    return SLOWEST if candidate.p50_ms is None else candidate.p50_ms


def _named(
    chosen: Candidate | None, kind: str, known: Sequence[str], *, lossy_allowed: bool
) -> Candidate:
    if chosen is None:
        raise Missing(
            f"This version has no variant “{kind}”.",
            remedy=f"It has {', '.join(known)}." if known else "Build it first.",
            field="variant",
            code="endpoint.no_variant",
        )
    if chosen.state != VariantState.BUILT:
        raise Conflict(
            f"The variant “{kind}” was not built: {chosen.reason or chosen.state}.",
            remedy="Serve another variant, or build the version again.",
            field="variant",
            code="endpoint.not_built",
        )
    original = chosen.kind == VariantKind.NATIVE and chosen.verdict != ProofVerdict.TOO_LOSSY
    if chosen.verdict == ProofVerdict.PASSED or original or lossy_allowed:
        return chosen
    says = (
        "loses more than its model tolerates"
        if chosen.verdict == ProofVerdict.TOO_LOSSY
        else "was never proved against the original"
    )
    raise Conflict(
        f"The variant “{kind}” {says}.",
        remedy="Serve another variant, or try this one in the first environment.",
        field="variant",
        code="endpoint.too_lossy",
    )
