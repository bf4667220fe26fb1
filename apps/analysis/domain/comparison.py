"""What the comparison of many answers adds up to, and how it is said. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import accumulate, pairwise
from typing import Any

from apps.analysis.domain.comparing import Compared
from apps.monitoring.domain import histogram
from controlplane.kernel.figures import THIN, rounded

# Upper ends of the buckets of `Comparison.differences`: 0 is "to the last bit".
DIFFERENCES: tuple[float, ...] = (0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100)
_LONGER_MS: tuple[float, ...] = (
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200,
    300, 500, 1_000, 2_000, 5_000, 10_000,
)  # fmt: skip
# Upper ends of the buckets of `Comparison.longer`, in milliseconds.
LONGER_MS: tuple[float, ...] = (*(-ms for ms in reversed(_LONGER_MS)), 0.0, *_LONGER_MS)
SLICES = 50
OTHER = "other"  # the slice of labels beyond the first `SLICES`
EXAMPLES = 20

Json = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """A disagreement, to look at.

    Attributes:
        request_id: The request's.
        at: When stable answered, in seconds since 1970.
        slice: The label that stable gave.
        problem: In what they differ, as a sentence.
        stable: What stable said, shortened.
        canary: What the canary said, shortened.
    """

    request_id: str
    at: float
    slice: str
    problem: str
    stable: str
    canary: str


@dataclass(frozen=True)
class SliceAgreement:
    """How much both agree where stable gave one label.

    Attributes:
        label: Which.
        pairs: How many requests.
        agreeing: How many of them were answered alike.
    """

    label: str
    pairs: int
    agreeing: int

    @property
    def share(self) -> float:
        """The share that agrees."""
        return self.agreeing / self.pairs


@dataclass(frozen=True)
class Comparison:
    """All that was compared so far.

    Attributes:
        pairs: Requests that both answered.
        agreeing: Of them, answered alike.
        labelled: Of them, answered with a label by stable, that the canary's could be held to.
        flips: Of these, with another label by the canary.
        stable_errors: Of the pairs, those where stable failed (status 5xx).
        canary_errors: Of the pairs, those where the canary failed.
        unmatched_stable: Answers of stable without one of the canary; where fewer than all
            requests are copied, mostly those that were not.
        unmatched_canary: The other way round.
        lost: Answers that were kept no more when they were to be read, as far as is known.
        restarts: Servers that were restarted meanwhile; what they kept went with them.
        differences: How many pairs' numbers differed by at most each of `DIFFERENCES`.
        longer: How many pairs took so much longer with the canary; see `LONGER_MS`.
        stable_latency: Of the pairs; see `apps.monitoring.domain.histogram`.
        canary_latency: Of the pairs.
        stable_ms: Milliseconds that stable took for all pairs together.
        canary_ms: The same for the canary.
        slices: By label, requests and how many of them were answered alike.
        examples: The newest disagreements, newest first.
        problem: Why nothing can be compared, as a sentence; "" when it can.
    """

    pairs: int = 0
    agreeing: int = 0
    labelled: int = 0
    flips: int = 0
    stable_errors: int = 0
    canary_errors: int = 0
    unmatched_stable: int = 0
    unmatched_canary: int = 0
    lost: int = 0
    restarts: int = 0
    differences: tuple[int, ...] = (0,) * (len(DIFFERENCES) + 1)
    longer: tuple[int, ...] = (0,) * (len(LONGER_MS) + 1)
    stable_latency: tuple[int, ...] = (0,) * histogram.BUCKETS
    canary_latency: tuple[int, ...] = (0,) * histogram.BUCKETS
    stable_ms: float = 0.0
    canary_ms: float = 0.0
    slices: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    problem: str = ""

    @property
    def agreement(self) -> float | None:
        """The share of pairs that agree; None without any."""
        return self.agreeing / self.pairs if self.pairs else None

    @property
    def longer_ms(self) -> float | None:
        """How much longer the canary takes for the same request, at the median."""
        return _median(LONGER_MS, self.longer)


def add(
    comparison: Comparison,
    compared: Sequence[Compared],
    *,
    unmatched_stable: int = 0,
    unmatched_canary: int = 0,
    lost: int = 0,
    restarts: int = 0,
    problem: str = "",
) -> Comparison:
    """Return the comparison with what one more look brought.

    Args:
        comparison: So far.
        compared: Pairs that were not in it.
        unmatched_stable: Answers of stable that stayed alone.
        unmatched_canary: Answers of the canary that stayed alone.
        lost: Answers that are kept no more.
        restarts: Servers that were restarted.
        problem: Why this look could not compare; replaces what was said before.
    """
    return replace(
        comparison,
        pairs=comparison.pairs + len(compared),
        agreeing=comparison.agreeing + sum(one.agrees for one in compared),
        labelled=comparison.labelled + sum(one.label_flip is not None for one in compared),
        flips=comparison.flips + sum(one.label_flip is True for one in compared),
        stable_errors=comparison.stable_errors + sum(one.stable_status >= 500 for one in compared),
        canary_errors=comparison.canary_errors + sum(one.canary_status >= 500 for one in compared),
        unmatched_stable=comparison.unmatched_stable + unmatched_stable,
        unmatched_canary=comparison.unmatched_canary + unmatched_canary,
        lost=comparison.lost + lost,
        restarts=comparison.restarts + restarts,
        slices=_sliced(comparison.slices, compared),
        examples=_newest(comparison.examples, compared),
        problem=problem,
        **_measured(comparison, compared),
    )


def worst_slices(comparison: Comparison, least: int = 20) -> list[SliceAgreement]:
    """Return the slices of at least so many requests, those that agree least first."""
    found = [SliceAgreement(label, *counts) for label, counts in comparison.slices.items()]
    enough = [one for one in found if one.pairs >= least]
    return sorted(enough, key=lambda one: (one.share, -one.pairs, one.label))


def sentence(comparison: Comparison) -> str:
    """Return the comparison for a person."""
    said = [comparison.problem] if comparison.problem else []
    if comparison.pairs:
        said += [_agreement(comparison), _latency(comparison), _failures(comparison)]
    elif not said:
        said = ["No answers have been compared yet."]
    return " ".join(part for part in [*said, _missing(comparison)] if part)


def to_json(comparison: Comparison) -> Json:
    """Return the comparison as it is kept."""
    return asdict(comparison)


def from_json(value: Mapping[str, Any]) -> Comparison:
    """Return the comparison that `to_json` made; of nothing, an empty one."""
    known = {one.name for one in fields(Comparison)}
    found = {name: content for name, content in value.items() if name in known}
    for name in ("differences", "longer", "stable_latency", "canary_latency"):
        if name in found:
            found[name] = tuple(found[name])
    found["slices"] = {label: (n, alike) for label, (n, alike) in found.get("slices", {}).items()}
    found["examples"] = tuple(Example(**example) for example in found.get("examples", ()))
    return Comparison(**found)


def _measured(comparison: Comparison, compared: Sequence[Compared]) -> Json:
    """Return the sums and histograms with `compared` in them."""
    stable = [one.stable_ms for one in compared]
    canary = [one.canary_ms for one in compared]
    longer = [theirs - ours for ours, theirs in zip(stable, canary, strict=True)]
    apart = [one.max_difference for one in compared if one.max_difference is not None]
    return {
        "differences": _counted(comparison.differences, DIFFERENCES, apart),
        "longer": _counted(comparison.longer, LONGER_MS, longer),
        "stable_latency": _counted(comparison.stable_latency, histogram.BOUNDS_MS, stable),
        "canary_latency": _counted(comparison.canary_latency, histogram.BOUNDS_MS, canary),
        "stable_ms": comparison.stable_ms + sum(stable),
        "canary_ms": comparison.canary_ms + sum(canary),
    }


def _counted(
    counts: Sequence[int], bounds: Sequence[float], values: Iterable[float]
) -> tuple[int, ...]:
    found = list(counts)
    for value in values:
        found[bisect_left(bounds, value)] += 1
    return tuple(found)


def _median(bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Return the middle of what was counted, as if spread evenly within a bucket."""
    half = sum(counts) / 2
    if not half:
        return None
    index = next(i for i, reached in enumerate(accumulate(counts)) if reached >= half)
    before = sum(counts[:index])
    edges = list(pairwise((bounds[0], *bounds, bounds[-1])))
    low, high = edges[index]
    return low + (high - low) * (half - before) / counts[index]


def _sliced(
    slices: Mapping[str, tuple[int, int]], compared: Iterable[Compared]
) -> dict[str, tuple[int, int]]:
    found = dict(slices)
    for one in compared:
        label = one.slice if one.slice in found or len(found) < SLICES else OTHER
        pairs, agreeing = found.get(label, (0, 0))
        found[label] = (pairs + 1, agreeing + one.agrees)
    return found


def _newest(examples: Sequence[Example], compared: Iterable[Compared]) -> tuple[Example, ...]:
    new = [
        Example(one.request_id, one.at, one.slice, one.problem, one.stable, one.canary)
        for one in compared
        if not one.agrees
    ]
    return tuple(sorted((*new, *examples), key=lambda one: -one.at)[:EXAMPLES])


def _agreement(comparison: Comparison) -> str:
    pairs, alike = comparison.pairs, comparison.agreeing
    shown = f"{_counted_of(pairs, 'answer')} compared: "
    if alike == pairs:
        return f"{shown}all agree."
    parts = [f"{_percent(alike, pairs)} agree"]
    if comparison.labelled:
        parts.append(f"{_counted_of(comparison.flips, 'label')} flipped")
    worst = worst_slices(comparison)
    if len(worst) > 1 and worst[0].share < alike / pairs:
        slice_ = worst[0]
        share = _percent(slice_.agreeing, slice_.pairs)
        parts.append(f"the worst slice is “{slice_.label}” with {share} of {slice_.pairs:,}")
    return f"{shown}{', '.join(parts)}."


def _latency(comparison: Comparison) -> str:
    longer = comparison.longer_ms
    if longer is None:
        return ""
    if abs(longer) < _LONGER_MS[0]:
        return "The canary takes as long as stable at the median."
    than = "longer" if longer > 0 else "less"
    return f"The canary takes {rounded(abs(longer), 2)}{THIN}ms {than} at the median."


def _failures(comparison: Comparison) -> str:
    stable, canary = comparison.stable_errors, comparison.canary_errors
    if not stable and not canary:
        return ""
    return f"The canary failed {_times(canary)}, stable {_times(stable)}."


def _missing(comparison: Comparison) -> str:
    stable, canary = comparison.unmatched_stable, comparison.unmatched_canary
    parts = []
    if stable and not comparison.pairs:  # else, these may just not have been copied
        parts.append(f"{_counted_of(stable, 'answer')} of stable had no counterpart")
    if canary:
        parts.append(f"{_counted_of(canary, 'answer')} of the canary had no counterpart")
    if comparison.lost:
        were = "was" if comparison.lost == 1 else "were"
        parts.append(f"{comparison.lost:,} {were} kept no more when they were to be read")
    if comparison.restarts:
        parts.append(f"servers were restarted {_times(comparison.restarts)}")
    if not parts:
        return ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _percent(count: int, of: int) -> str:
    # Rounded down: 100 % is said of all and of nothing less.
    tenths = 1000 * count // of
    return f"{tenths / 10:.1f}{THIN}%"


def _counted_of(number: int, one: str) -> str:
    return f"{number:,} {one if number == 1 else one + 's'}"


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number:,} times")
