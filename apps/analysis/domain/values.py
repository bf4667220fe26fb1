"""What the judge is asked, what it looks at and what it answers. Values only.

There are three answers and never a fourth. No data is "not yet"; an analysis that cannot run is an
error of the run and no answer at all. Neither promotes anything.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controlplane.kernel.quantities import Tally


class Answer(StrEnum):
    """What the evidence says so far."""

    WORSE = "worse"  # than stable, by more than is tolerated
    NOT_WORSE = "not_worse"  # than stable, by more than the margin
    NOT_YET = "not_yet"  # neither is proven


class MetricKind(StrEnum):
    """What one observation of a metric is."""

    RATE = "rate"  # yes or no for each request: a share
    MEAN = "mean"  # a number for each request, or for each look


class Better(StrEnum):
    """Which way a metric improves."""

    LOWER = "lower"
    HIGHER = "higher"


class SourceKind(StrEnum):
    """Where a metric's numbers come from."""

    ERRORS = "errors"  # share of requests that failed on our side; the proxy counts
    REFUSED = "refused"  # share of requests refused as the caller's mistake; the proxy counts
    SLOW = "slow"  # share of requests over `Metric.over_ms`; the proxy counts
    FEEDBACK = "feedback"  # rewards and late labels that callers send
    DISAGREEMENT = "disagreement"  # share of mirrored requests answered otherwise than by stable
    PROMETHEUS = "prometheus"
    WEBHOOK = "webhook"
    JOB = "job"


@dataclass(frozen=True)
class Allowance:
    """How much worse than stable is still allowed: worse than `absolute + relative * stable`.

    Attributes:
        absolute: In the metric's own unit; for a rate a share (0.002 is 0.2 points).
        relative: A share of stable's value (0.25 lets the canary be a quarter worse).
    """

    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True)
class Metric:
    """One thing by which canary and stable are compared.

    Attributes:
        name: Unique within a run; a slug ("errors", "slow", "accuracy").
        title: For a person ("Errors", "Slower than 250 ms").
        kind: Share or mean.
        source: Where the numbers come from.
        better: Which way it improves; a rate of bad things is better when lower.
        tolerance: Beyond it the canary is worse, and is aborted.
        margin: Within it the canary is "not worse"; at least as large as `tolerance`.
        over_ms: For `SourceKind.SLOW`, the objective's threshold in milliseconds.
        query: For other sources: a query, an address or a job's name; {side}, {revision},
            {endpoint} and {version} are filled in.
        cluster: Whether whole slices, not single requests, count as independent observations.
        required: Whether a step waits for this one to be "not worse"; one that is not required
            can still abort.
    """

    name: str
    title: str
    kind: MetricKind
    source: SourceKind
    better: Better = Better.LOWER
    tolerance: Allowance = field(default_factory=Allowance)
    margin: Allowance = field(default_factory=Allowance)
    over_ms: float | None = None
    query: str = ""
    cluster: bool = False
    required: bool = True


@dataclass(frozen=True)
class Slice:
    """What both sides did in the same span of time.

    Attributes:
        at: When the span begins (UTC).
        seconds: How long it is.
        stable: Stable's observations of one metric.
        canary: The canary's.
    """

    at: datetime
    seconds: float
    stable: Tally
    canary: Tally


@dataclass(frozen=True)
class Finding:
    """What is known of one metric.

    Attributes:
        metric: Its name.
        answer: Of the three.
        worse: The evidence that the canary is worse beyond the tolerance (an e-value; at least 1
            in the long run only if it is).
        not_worse: The evidence that it is not worse by more than the margin (an e-value).
        worse_at: The e-value from which "worse" is proven.
        not_worse_at: The e-value from which "not worse" is proven.
        stable: Stable's value so far; None without observations.
        canary: The canary's.
        stable_total: Observations of stable.
        canary_total: Observations of the canary.
        allowed: The canary's value up to which it is within the margin; None without stable's.
        low: Lower end of the anytime-valid interval of canary minus stable; None when unknown.
        high: Upper end.
        remaining_seconds: How long until a decision at the present traffic; None when no
            estimate is possible (no traffic).
        sentence: All of this for a person, one or two sentences.
    """

    metric: str
    answer: Answer
    worse: float
    not_worse: float
    worse_at: float
    not_worse_at: float
    stable: float | None
    canary: float | None
    stable_total: float
    canary_total: float
    allowed: float | None
    low: float | None
    high: float | None
    remaining_seconds: float | None
    sentence: str


@dataclass(frozen=True)
class Judgement:
    """What all metrics together say.

    Attributes:
        answer: Worse as soon as the metrics together prove it at the run's alpha; not worse when
            every required metric is; not yet otherwise.
        findings: By metric, in the order of the run's metrics.
        combined_worse: The combined e-value of "worse" (the mean of the metrics' e-values).
        sentence: The stop reason, or what is waited for, in one sentence.
        remaining_seconds: Until the slowest required metric is decided; None when unknown.
    """

    answer: Answer
    findings: tuple[Finding, ...]
    combined_worse: float
    sentence: str
    remaining_seconds: float | None
