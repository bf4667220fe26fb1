"""What came of comparing both answers to the same requests."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils.timezone import localtime

from apps.analysis.domain import comparison as comparing
from apps.analysis.domain.comparison import Comparison
from apps.monitoring.domain import histogram
from apps.rollouts.web.seen import Seen
from controlplane.kernel.figures import THIN, rounded

WORST = 6
EXAMPLES = 5


@dataclass(frozen=True)
class Stat:
    """One number of the panel."""

    name: str
    value: str
    unit: str
    note: str


@dataclass(frozen=True)
class Worst:
    """One slice, the least agreeing first."""

    label: str
    pairs: int
    share: float

    @property
    def counted(self) -> str:
        """Return how many answers, with thousands grouped."""
        return f"{self.pairs:,}"

    @property
    def percent(self) -> float:
        """Return the share in percent."""
        return 100 * self.share


@dataclass(frozen=True)
class Example:
    """One disagreement."""

    request: str
    at: str
    label: str
    problem: str
    stable: str
    canary: str


@dataclass(frozen=True)
class Shadow:
    """The panel.

    Attributes:
        sentence: The comparison in words.
        problem: Why nothing can be compared; "" when it can.
        stats: Agreement, flips, latency.
        worst: Slices.
        examples: The newest disagreements.
    """

    sentence: str
    problem: str
    stats: list[Stat]
    worst: list[Worst]
    examples: list[Example]


def shadow(seen: Seen) -> Shadow | None:
    """Return the panel; None where nothing was compared."""
    if seen.run is None or not seen.run.comparison:
        return None
    found = comparing.from_json(seen.run.comparison)
    return Shadow(
        sentence=comparing.sentence(found),
        problem=found.problem,
        stats=_stats(found) if found.pairs else [],
        worst=[
            Worst(one.label, one.pairs, one.share) for one in comparing.worst_slices(found)[:WORST]
        ],
        examples=[_example(one) for one in found.examples[:EXAMPLES]],
    )


def _stats(found: Comparison) -> list[Stat]:
    agreeing = f"{1000 * found.agreeing // found.pairs / 10:.1f}"  # down: 100 is said of all only
    stats = [Stat("Agree", agreeing, "%", f"{found.agreeing:,} of {found.pairs:,} answers")]
    if found.labelled:
        share = f"{rounded(100 * found.flips / found.labelled, 2)}{THIN}% of {found.labelled:,}"
        stats.append(Stat("Labels flipped", f"{found.flips:,}", "", share))
    longer = found.longer_ms
    if longer is not None:
        word = "longer for the same request" if longer >= 0 else "less for the same request"
        stats.append(Stat("Takes", rounded(abs(longer), 2), "ms", word))
    stats.append(_p95(found))
    failed = f"stable {found.stable_errors:,}"
    return [*stats, Stat("Failed", f"{found.canary_errors:,}", "", failed)]


def _p95(found: Comparison) -> Stat:
    canary = histogram.percentile(found.canary_latency, 0.95)
    stable = histogram.percentile(found.stable_latency, 0.95)
    if canary is None or stable is None:
        return Stat("p95", "no data", "", "")
    return Stat("p95", rounded(canary), "ms", f"stable {rounded(stable)}{THIN}ms")


def _example(one: comparing.Example) -> Example:
    at = localtime(datetime.fromtimestamp(one.at, UTC)).strftime("%H:%M:%S")
    return Example(one.request_id, at, one.slice, one.problem, one.stable, one.canary)
