"""The judge's panel: the verdict as a sentence, then each metric with its numbers and evidence."""

from dataclasses import dataclass

from apps.analysis.domain import words as said
from apps.analysis.domain.values import Answer, Finding, Metric, MetricKind, SourceKind
from apps.analysis.models import Look
from apps.rollouts.domain import curve
from apps.rollouts.domain.curve import Curve
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.strategy import OnDeadline
from apps.rollouts.web.ladder import clock
from apps.rollouts.web.seen import Seen
from controlplane.kernel.figures import rounded

VERDICTS = {
    Answer.WORSE: "Worse.",
    Answer.NOT_WORSE: "Not worse.",
    Answer.NOT_YET: "Not yet.",
}
MIDDLE = 40.0  # percent of the drawing
APART, ROOM = 9, 24  # pixels beside a point; below it
ABOVE, BELOW, LINE = 9, 17, 15  # pixels from a point to its label, and between two labels
CAPPED = 10_000.0  # an e-value beyond it is told as "over"


@dataclass(frozen=True)
class Number:
    """One of the paired numbers."""

    value: str
    base: str


@dataclass(frozen=True)
class Judged:
    """One metric.

    Attributes:
        slug: For ids on the page.
        state: An answer, or "no_data".
        canary: The canary's number; None without observations.
        stable: Stable's.
        allowed: What is still within the margin.
        sentence: What is known.
        curve: The drawing of its evidence.
        empty: What stands there instead of a curve; "" where there is one.
        finding: The drawing in words.
        worse: The e-value, as text.
        not_worse: The e-value, as text.
        advice: Whether no step waits for it.
    """

    title: str
    slug: str
    state: str
    canary: Number | None
    stable: Number | None
    allowed: Number | None
    sentence: str
    curve: Curve
    empty: str
    finding: str
    worse: str
    not_worse: str
    advice: bool

    @property
    def anchor(self) -> str:
        """Return at which end the labels of the curve hang: always inside the drawing."""
        return "end" if self.curve.end_x > MIDDLE else "start"

    @property
    def dx(self) -> int:
        """Return how far the labels stand from the curve's end."""
        return -APART if self.curve.end_x > MIDDLE else APART

    @property
    def good_label_y(self) -> float:
        """Return the baseline of the label of "not worse", clear of the other."""
        return baselines(self.curve.not_worse_y, self.curve.worse_y, self.curve.high)[0]

    @property
    def bad_label_y(self) -> float:
        """Return the baseline of the label of "worse", clear of the other."""
        return baselines(self.curve.not_worse_y, self.curve.worse_y, self.curve.high)[1]


def baselines(first: float, second: float, axis: float) -> tuple[float, float]:
    """Return where the labels of two points of one moment stand; all in pixels from the top.

    The lower point's label is under it where there is room above the axis, the other's above both.
    """
    low = max(first, second)
    under = low + BELOW if low < axis - ROOM else low - ABOVE
    over = min(first, second, under - LINE + ABOVE) - ABOVE
    return (under, over) if first > second else (over, under)


@dataclass(frozen=True)
class Panel:
    """The panel.

    Attributes:
        promise: How often it is wrong at most.
        state: Of the verdict.
        verdict: One or two words.
        sentence: The reason.
        why: What it still needs, and what happens if it does not get it.
        metrics: In the plan's order.
    """

    promise: str
    state: str
    verdict: str
    sentence: str
    why: str
    metrics: list[Judged]


def panel(seen: Seen) -> Panel | None:
    """Return the panel; None where nothing is judged."""
    if seen.run is None or seen.standing is None:
        return None
    standing = seen.standing
    state, verdict = str(standing.answer), VERDICTS[standing.answer]
    sentence = standing.sentence
    if standing.limit_hit:
        state, verdict, sentence = "worse", "A hard limit was passed.", standing.limit_hit
    elif standing.problem:
        state, verdict, sentence = "unknown", "It cannot look.", standing.problem
    alpha = float(seen.run.plan.get("alpha", 0.05))
    return Panel(
        promise=f"Aborts at most 1 in {1 / alpha:.0f} healthy rollouts, however often it looks",
        state=state,
        verdict=verdict,
        sentence=sentence,
        why=_why(seen),
        metrics=[_metric(seen, metric) for metric in seen.metrics],
    )


def _why(seen: Seen) -> str:
    standing = seen.standing
    if standing is None or seen.ended:
        return ""
    if standing.problem:
        return standing.remedy
    if standing.answer is not Answer.NOT_YET or seen.state is RolloutState.PAUSED:
        return ""
    needs = said.waiting(standing.remaining_seconds)
    told = "" if needs in standing.sentence else needs
    return f"{told} {_deadline(seen)}".strip()


def _deadline(seen: Seen) -> str:
    if seen.late_at is None:
        return ""
    goes_back = seen.strategy.on_deadline is OnDeadline.ABORT
    then = "everything goes back" if goes_back else "the rollout pauses and asks you"
    return f"If it cannot by {clock(seen.late_at, seen.now)}, {then}."


def _metric(seen: Seen, metric: Metric) -> Judged:
    found, looks = seen.findings.get(metric.name), seen.curves.get(metric.name, [])
    known = found is not None and found.canary is not None
    return Judged(
        title=metric.title,
        slug=metric.name,
        state=str(found.answer) if found is not None and known else "no_data",
        canary=_number(metric, found.canary, found.canary_total) if found else None,
        stable=_number(metric, found.stable, found.stable_total) if found else None,
        allowed=_allowed(metric, found) if found else None,
        sentence=found.sentence if found else "Nothing has been looked at yet.",
        curve=_curve(seen, found, looks),
        empty="" if looks and known else _empty(metric),
        finding=_finding(metric, found),
        worse=_e(found.worse) if found else "1",
        not_worse=_e(found.not_worse) if found else "1",
        advice=not metric.required,
    )


def _number(metric: Metric, value: float | None, total: float) -> Number | None:
    if value is None:
        return None
    base = f"of {total:,.0f}"
    if metric.kind is MetricKind.RATE:
        base = f"{value * total:,.0f} of {total:,.0f}"
    return Number(said.value(metric, value), base)


def _allowed(metric: Metric, found: Finding) -> Number | None:
    if found.allowed is None:
        return None
    apart = abs(found.allowed - (found.stable or 0.0))
    return Number(said.value(metric, found.allowed), f"{said.amount(metric, apart)} worse")


def _curve(seen: Seen, found: Finding | None, looks: list[Look]) -> Curve:
    at = found.not_worse_at if found else 20.0
    worse_at = found.worse_at if found else at
    thresholds = [(at, f"threshold {rounded(at)}")]
    if abs(worse_at - at) > 0.5:
        thresholds = [
            (at, f"not worse from {rounded(at)}"),
            (worse_at, f"worse from {rounded(worse_at)}"),
        ]
    since = seen.run.started_at if seen.run else seen.since
    end = seen.until if not seen.ended or not looks else looks[-1].at
    evidence = [curve.Evidence(k.at, k.worse, k.not_worse, k.step) for k in looks]
    return curve.curve(evidence, since=since, until=end, thresholds=thresholds)


def _empty(metric: Metric) -> str:
    if metric.source is SourceKind.FEEDBACK:
        return "No labels yet"
    if metric.source is SourceKind.DISAGREEMENT:
        return "No answers compared yet"
    return "No data yet"


def _finding(metric: Metric, found: Finding | None) -> str:
    if found is None or found.canary is None:
        return f"{metric.title}: {_empty(metric).lower()}"
    return (
        f"{metric.title}: the evidence that it is not worse stands at {_e(found.not_worse)} of "
        f"{rounded(found.not_worse_at)}, that it is worse at {_e(found.worse)} of "
        f"{rounded(found.worse_at)}"
    )


def _e(value: float) -> str:
    """Return an e-value for a label; beyond what anybody compares, only that it is."""
    if value > CAPPED:
        return f"over {CAPPED:,.0f}"
    return "under 0.01" if value < 0.01 else rounded(value)
