"""Load tests: what is asked of a generator, what it saw, and whether that is good enough. Pure.

The generator sends at its own pace whether or not answers come (open loop), and a request's time
begins when it was due, not when a connection was free: a server that stalls cannot slow down the
questions and look fast.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from apps.gates.domain.finding import Finding, failed, passed, unknown

SECONDS, LONGEST_SECONDS = 20.0, 120.0
LEAST_REQUESTS = 200  # fewer cannot show that 99 of 100 are fast
HEADROOM = 0.5
OFFERED = 0.95  # share of the planned requests that must have been sent on time
LATE_SHARE = 0.01  # sent late by the generator's own fault: beyond it, slowness shows nothing
HOPELESS_SHARE = 0.2  # and beyond this share, the requests did not come as they were to
CONFIDENCE = 1.96


class LoadState(StrEnum):
    """What became of a load test."""

    ABSENT = "absent"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # it ended and says why
    LOST = "lost"  # it stopped without a word


@dataclass(frozen=True)
class LoadPlan:
    """What a generator is told.

    Attributes:
        url: Where to ask.
        body: An inference request.
        rate: Requests per second.
        seconds: For how long.
        slow_ms: From where on a request counts as slow.
        timeout_ms: From where on it counts as not answered.
        key: The endpoint's key; "" for none.
        seed: Of the arrival times.
        arrivals: "poisson" or "constant".
    """

    url: str
    body: Mapping[str, Any]
    rate: float
    seconds: float
    slow_ms: float
    timeout_ms: float
    key: str = ""
    seed: int = 1
    arrivals: str = "poisson"


@dataclass(frozen=True)
class LoadResult:
    """What a generator saw.

    Attributes:
        planned: Requests that were due.
        sent: Requests that were sent.
        answered: Requests that were answered with 200 in time.
        fast: Those of them that took at most `slow_ms`.
        late: Requests that the generator itself sent late.
        seconds: From the first due time to the last.
        counts: A histogram of `monitoring.domain.histogram`.
        p50_ms: Of what was answered, as are the next two; None when nothing was.
        errors: By sentence.
        revisions: Answers by the number of the revision that gave them.
        by_second: [{"second", "offered", "answered", "p95_ms"}], for plotting.
    """

    planned: int
    sent: int
    answered: int
    fast: int
    late: int
    seconds: float
    counts: Sequence[int]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    errors: Mapping[str, int] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    by_second: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class LoadReport:
    """What is known of a load test."""

    state: LoadState
    result: LoadResult | None = None
    problem: str = ""


@dataclass(frozen=True)
class Goal:
    """What must hold.

    Attributes:
        rate: Requests per second.
        availability: Share of requests that must be answered.
        latency_ms: How long a request may take to count as fast.
        latency_share: Share of requests that must be fast.
    """

    rate: float
    availability: float
    latency_ms: float
    latency_share: float


def duration(rate: float, *, asked: float = SECONDS) -> float:
    """Return how many seconds a test must take to say something at `rate`."""
    enough = LEAST_REQUESTS / rate if rate > 0 else LONGEST_SECONDS
    return min(max(asked, math.ceil(enough)), LONGEST_SECONDS)


def judge(result: LoadResult, goal: Goal, *, revision: int | None) -> Finding:
    """Return whether a test showed that the goal is held.

    Slow and failed requests count against all that were sent. What the generator could not offer,
    or what somebody else answered, shows nothing.

    Args:
        result: What was seen.
        goal: What must hold.
        revision: The number of the revision that was to answer; None when nothing says who did.
    """
    facts = _facts(result, goal)
    if result.planned < LEAST_REQUESTS or result.sent == 0:
        return unknown(
            f"Only {result.sent} requests fit into the test; {LEAST_REQUESTS} are needed.",
            "Lengthen the test in the policy (seconds).", **facts,
        )  # fmt: skip
    if result.sent < OFFERED * result.planned or result.late > HOPELESS_SHARE * result.sent:
        return _not_offered(result, goal, facts)
    others = sum(n for name, n in result.revisions.items() if name != str(revision))
    if revision is not None and (others or (not result.revisions and result.answered)):
        return unknown(
            f"{others or result.answered} answers came from another revision.",
            "Run it again when only this one answers.", **facts,
        )  # fmt: skip
    answered, fast = result.answered / result.sent, result.fast / result.sent
    held = answered >= goal.availability and fast >= goal.latency_share
    sentence = (
        f"At {goal.rate:.4g} requests per second {answered:.2%} were answered and {fast:.2%} took "
        f"at most {goal.latency_ms:g} ms (p95 {_ms(result.p95_ms)}, p99 {_ms(result.p99_ms)})."
    )
    if held:  # what went out late counts as slow, so it can only have been better than this
        return passed(sentence, **facts)
    if result.late > LATE_SHARE * result.sent:
        return _not_offered(result, goal, facts)
    return failed(
        f"{sentence} The objective asks for {goal.availability:.2%} and {goal.latency_share:.2%}.",
        "Add replicas, choose a faster variant, or declare an objective that can be held.",
        **facts,
    )


def _not_offered(result: LoadResult, goal: Goal, facts: Mapping[str, Any]) -> Finding:
    return unknown(
        f"The generator could not offer {goal.rate:.4g} requests per second as planned: "
        f"{result.late} of {result.planned} went out late by its own fault.",
        "It is tried again; it needs a machine that is less busy.", **facts,
    )  # fmt: skip


def interval(good: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    if total <= 0:
        return 0.0, 1.0
    z2, share = CONFIDENCE**2, good / total
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = CONFIDENCE / (1 + z2 / total) * math.sqrt(
        share * (1 - share) / total + z2 / (4 * total**2)
    )  # fmt: skip
    return max(0.0, middle - half), min(1.0, middle + half)


def _facts(result: LoadResult, goal: Goal) -> dict[str, Any]:
    seconds = result.seconds or 1.0
    return {
        "goal": {
            "rate": goal.rate,
            "availability": goal.availability,
            "latency_ms": goal.latency_ms,
            "latency_share": goal.latency_share,
        },
        "planned": result.planned,
        "sent": result.sent,
        "answered": result.answered,
        "fast": result.fast,
        "late": result.late,
        "seconds": round(result.seconds, 3),
        "offered_rate": round(result.sent / seconds, 2),
        "answered_rate": round(result.answered / seconds, 2),
        "answered_share": list(interval(result.answered, result.sent)),
        "fast_share": list(interval(result.fast, result.sent)),
        "p50_ms": result.p50_ms,
        "p95_ms": result.p95_ms,
        "p99_ms": result.p99_ms,
        "histogram": list(result.counts),
        "errors": dict(result.errors),
        "by_second": [dict(entry) for entry in result.by_second],
    }


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g} ms"
