"""Both sides of a difference, and the rows that it is told in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apps.registry.domain.compare import Side
from apps.releases.domain.judging import Measured, Span, Tone

NOTHING = "nothing"
NOT_GIVEN = "not given"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Proof:
    """A variant's proof sheet; None where nothing was measured.

    Latencies are in milliseconds at a batch of 1 on one thread; throughput is in predictions per
    second at a batch of 64; memory is of one replica.
    """

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    throughput: float | None = None
    memory_mb: float | None = None
    size: int | None = None
    max_difference: float | None = None
    agreement: float | None = None
    told: str = ""


@dataclass(frozen=True)
class Subject:
    """One side: a version in one form, as it is or would be served.

    Attributes:
        side: What the registry compares.
        team: Who owns the model.
        risk_tier: Of the policy that it was, or is to be, checked by.
        variant: Its kind.
        bundle: The digest of the bundle.
        runtime: A name in the runtime catalogue; "" for the best one.
        replicas: How many.
        configuration: Settings of the runtime.
        proof: What was measured when it was built.
        metrics: The version's metrics by name, with intervals where somebody gave them.
        requirements: Pip lines.
        revision: The number of the live revision; None when it is only proposed.
        since: Since when it is live.
    """

    side: Side
    team: str
    risk_tier: str
    variant: str
    bundle: str
    runtime: str
    replicas: int
    configuration: Mapping[str, Any] = field(default_factory=dict)
    proof: Proof = field(default_factory=Proof)
    metrics: Mapping[str, Measured] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    revision: int | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Traffic:
    """What callers saw of the live revision.

    Attributes:
        minutes: How far back.
        requests: How many came; 0 for silence.
        rps: Requests per second; None without a request.
        errors: Share that failed on our side; None without a request.
        p95_ms: Through the proxy; None without a request.
    """

    minutes: int
    requests: int = 0
    rps: float | None = None
    errors: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class Price:
    """What one replica costs an hour, as the installation says."""

    hour: float
    currency: str


@dataclass(frozen=True)
class Line:
    """One line that came ("+"), went ("-") or explains (" ")."""

    sign: str
    text: str


@dataclass(frozen=True)
class Row:
    """One thing that may differ.

    Attributes:
        name: What it is.
        live: What is live, for a person.
        proposed: What is proposed, for a person.
        meaning: What the difference means, in words.
        tone: What it means for whoever decides.
        span: The difference with its interval, where there is one.
        lines: The difference line by line, where it has lines.
        numbers: What is live and what is proposed, for a program.
    """

    name: str
    live: str
    proposed: str
    meaning: str
    tone: Tone = Tone.SAME
    span: Span | None = None
    lines: tuple[Line, ...] = ()
    numbers: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Part:
    """Some rows under one heading.

    Attributes:
        key: For links and programs.
        title: The heading.
        note: How the numbers came about.
        rows: In order.
    """

    key: str
    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Difference:
    """Everything that would change.

    Attributes:
        first: Whether nothing is live there.
        sentence: The answer before the table.
        callers: What callers must do, in a sentence.
        breaks: Whether callers must change; None when that is not known.
        parts: In the order in which they are read.
    """

    first: bool
    sentence: str
    callers: str
    breaks: bool | None
    parts: tuple[Part, ...]

    def rows(self) -> Iterator[Row]:
        """Yield every row."""
        for part in self.parts:
            yield from part.rows


def absent(live: Subject | None, otherwise: str = NOT_GIVEN) -> str:
    """Return what stands where a live value would."""
    return NOTHING if live is None else otherwise
