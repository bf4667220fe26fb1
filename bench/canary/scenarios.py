"""What is simulated, by name."""

from collections.abc import Mapping

from bench.canary.traffic import FAILING, REFUSED, THRESHOLD_MS, USUAL, Scenario, ramp, step

KEY = "0.5%->2%@5"
SLOW = USUAL.over(THRESHOLD_MS)

TITLES = {
    "modelyard": "Modelyard",
    "flagger_example": "Flagger's example",
    "argo_example": "Argo's example",
    "argo_default_limit": "Argo, default limit",
    "z_test_peeked": "z-test, peeked",
    "kayenta_mann_whitney_peeked": "Mann-Whitney, peeked",
}

HEALTHY: Mapping[str, Scenario] = {
    rps: Scenario(f"healthy@{rps}", float(rps)) for rps in ("0.5", "5", "50")
}


def _errors(rps: float, to: float, *, at: float = 0.0) -> Scenario:
    return Scenario("", rps, failing=step(FAILING, to, at=at), begins=at)


REGRESSIONS: Mapping[str, Scenario] = {
    "0.5%->1%@0.5": _errors(0.5, 0.01),
    "0.5%->1%@5": _errors(5, 0.01),
    "0.5%->1%@50": _errors(50, 0.01),
    "0.5%->2%@0.5": _errors(0.5, 0.02),
    KEY: _errors(5, 0.02),
    "0.5%->2%@50": _errors(50, 0.02),
    "0.5%->20%@0.5": _errors(0.5, 0.2),
    "0.5%->20%@5": _errors(5, 0.2),
    "late 0.5%->2%@5": _errors(5, 0.02, at=30),
    "ramp 0.5%->3%@5": Scenario("", 5, failing=ramp(FAILING, 0.03, minutes_long=30), begins=0),
    "slow x1.3@5": Scenario("", 5, slow=step(SLOW, USUAL.times(1.3).over(THRESHOLD_MS)), begins=0),
    "slow x1.5@5": Scenario("", 5, slow=step(SLOW, USUAL.times(1.5).over(THRESHOLD_MS)), begins=0),
    "refused 1%->5%@5": Scenario("", 5, refused=step(REFUSED, 0.05), begins=0),
}

FOUND = {
    "0.5%->1%@0.5": "errors 0.5 % → 1 %, 0.5 req/s",
    "0.5%->1%@5": "errors 0.5 % → 1 %, 5 req/s",
    "0.5%->1%@50": "errors 0.5 % → 1 %, 50 req/s",
    "0.5%->2%@0.5": "errors 0.5 % → 2 %, 0.5 req/s",
    KEY: "errors 0.5 % → 2 %, 5 req/s",
    "0.5%->2%@50": "errors 0.5 % → 2 %, 50 req/s",
    "0.5%->20%@0.5": "errors 0.5 % → 20 %, 0.5 req/s",
    "0.5%->20%@5": "errors 0.5 % → 20 %, 5 req/s",
    "late 0.5%->2%@5": "errors 0.5 % → 2 % after 30 healthy minutes, 5 req/s",
    "ramp 0.5%->3%@5": "errors growing from 0.5 % to 3 % over 30 minutes, 5 req/s",
    "slow x1.3@5": "everything takes 1.3 times as long, 5 req/s",
    "slow x1.5@5": "everything takes 1.5 times as long, 5 req/s",
    "refused 1%->5%@5": "refused requests 1 % → 5 %, 5 req/s",
}

UNHEALTHY_LOOKING: Mapping[str, Scenario] = {
    "bursts 20%@0.5": Scenario("", 0.5, bursts=0.2),
    "bursts 20%@5": Scenario("", 5, bursts=0.2),
    "bursts 20%@50": Scenario("", 50, bursts=0.2),
    "bursts 90%@5": Scenario("", 5, bursts=0.9),
    "cv 0.3@0.5": Scenario("", 0.5, cv=0.3),
    "cv 0.3@5": Scenario("", 5, cv=0.3),
    "cv 0.3@50": Scenario("", 50, cv=0.3),
    "cv 0.6@0.5": Scenario("", 0.5, cv=0.6),
    "cv 0.6@5": Scenario("", 5, cv=0.6),
    "cv 0.6@50": Scenario("", 50, cv=0.6),
    "node 1.3x@5": Scenario("", 5, failing=step(FAILING, 1.3 * FAILING)),
    "node 1.3x@50": Scenario("", 50, failing=step(FAILING, 1.3 * FAILING)),
}

ROBUST = {
    "bursts 20%@0.5": "bursts of 20 % errors on both sides, 0.5 req/s",
    "bursts 20%@5": "bursts of 20 % errors on both sides, 5 req/s",
    "bursts 20%@50": "bursts of 20 % errors on both sides, 50 req/s",
    "bursts 90%@5": "bursts of 90 % errors on both sides, 5 req/s",
    "cv 0.3@0.5": "each side's shares vary by minute, CV 0.3, 0.5 req/s",
    "cv 0.3@5": "the same, 5 req/s",
    "cv 0.3@50": "the same, 50 req/s",
    "cv 0.6@0.5": "CV 0.6, 0.5 req/s",
    "cv 0.6@5": "the same, 5 req/s",
    "cv 0.6@50": "the same, 50 req/s",
    "node 1.3x@5": "the canary's node is 1.3 times as bad, 5 req/s",
    "node 1.3x@50": "the same, 50 req/s",
}

LADDER: Mapping[str, Scenario] = {
    "healthy": Scenario("healthy", 5),
    "errors 0.5 % → 2 %": _errors(5, 0.02),
    "errors 0.5 % → 20 %": _errors(5, 0.2),
    "errors 0.5 % → 2 % after 5 minutes": _errors(5, 0.02, at=5),
}
