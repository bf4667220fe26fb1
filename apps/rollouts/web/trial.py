"""What an experiment or a bandit is about, and what callers have told of both sides so far."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.analysis.domain import bandit
from apps.analysis.domain import words as said
from apps.analysis.domain.bandit import Arm
from apps.analysis.domain.values import Better, Finding, Metric
from apps.monitoring import selectors as monitoring
from apps.rollouts import learning
from apps.rollouts.domain import words
from apps.rollouts.domain.strategy import StrategyKind, Trying
from apps.rollouts.telling import Kind
from apps.rollouts.web.seen import Seen
from controlplane.kernel.errors import Invalid
from controlplane.kernel.quantities import Tally


@dataclass(frozen=True)
class Share:
    """One segment's requests, or the rest of them.

    Attributes:
        name: The segment, or the rest.
        weight: Percent that go to the candidate.
        canary: What callers told of the candidate; "" for nothing.
        stable: What they told of stable.
        best: The chance that the candidate is the better one; None while nobody can say.
    """

    name: str
    weight: int
    canary: str
    stable: str
    best: float | None


@dataclass(frozen=True)
class Difference:
    """Canary minus stable, with its interval, which holds at every moment at once."""

    low: float
    point: float
    high: float
    tone: str
    words: str


@dataclass(frozen=True)
class Trial:
    """The panel.

    Attributes:
        title: Its title.
        hypothesis: What is believed.
        metric: What is measured.
        sentence: How it stands.
        shares: The split, by segment and of the rest.
        difference: For an experiment; None while it is not known.
        range: Between which weights a bandit moves; "" for an experiment.
        told_apart: What keeps a caller on one side; "" for chance.
    """

    title: str
    hypothesis: str
    metric: str
    sentence: str
    shares: list[Share]
    difference: Difference | None
    range: str
    told_apart: str

    @property
    def knows_best(self) -> bool:
        """Return whether the chance of being the better one is known anywhere."""
        return any(share.best is not None for share in self.shares)


def trial(seen: Seen) -> Trial | None:
    """Return the panel; None for a strategy that tries nothing."""
    trying = seen.strategy.trying
    if trying is None:
        return None
    is_bandit = seen.strategy.kind is StrategyKind.BANDIT
    sticky = seen.strategy.sticky
    return Trial(
        title="The bandit" if is_bandit else "The experiment",
        hypothesis=trying.hypothesis,
        metric=trying.metric.title,
        sentence=seen.row.reason if seen.ended else seen.row.waits_for,
        shares=_shares(seen, trying, with_chance=is_bandit),
        difference=None if is_bandit else _difference(seen, trying.metric),
        range=f"{trying.floor} and {words.percent(trying.ceiling)}" if is_bandit else "",
        told_apart=f"{sticky.by} {sticky.name}" if sticky else "",
    )


def _shares(seen: Seen, trying: Trying, *, with_chance: bool) -> list[Share]:
    kept = seen.row.allocation or {}
    rest = int(kept.get("weight", seen.strategy.weight))
    if not trying.values and seen.row.decided_at is None:
        rest = seen.row.candidate.observed_weight or rest
    weights: Mapping[str, int] = {**kept.get("segments", {}), learning.REST: rest}
    told = _told(seen, trying)
    canary = learning.tallies(told, trying, seen.row.candidate)
    stable = learning.tallies(told, trying, seen.row.stable)
    everybody = "The rest" if trying.values else "Everybody"
    return [
        _share(trying.metric, segment or everybody, weights.get(segment, rest), canary[segment],
               stable[segment], with_chance=with_chance)
        for segment in canary
    ]  # fmt: skip


def _share(
    metric: Metric, name: str, weight: int, canary: Tally, stable: Tally, *, with_chance: bool
) -> Share:
    chance = _chance(metric, canary, stable) if with_chance else None
    return Share(name, weight, _value(metric, canary), _value(metric, stable), chance)


def _told(seen: Seen, trying: Trying) -> learning.Told:
    """Return what callers told from the trial's beginning to its decision, by one query."""
    began = seen.row.step_seen_at or next(
        (event.at for event in seen.milestones if event.kind == Kind.SEEN), None
    )
    if began is None:
        return {}
    sides = [pk for pk in (seen.row.stable_id, seen.row.candidate_id) if pk is not None]
    until = monitoring.told_until(seen.row.decided_at or seen.now)
    return monitoring.feedback_totals(sides, trying.metric.name, after=began, until=until)


def _chance(metric: Metric, canary: Tally, stable: Tally) -> float | None:
    if not canary.count or not stable.count:
        return None
    arms = [Arm(0, stable), Arm(1, canary)]
    try:
        return bandit.probability_best(arms, metric.kind, better=metric.better)[1]
    except Invalid:  # what callers send is not what the metric says it is
        return None


def _value(metric: Metric, tally: Tally) -> str:
    mean = tally.mean
    return "" if mean is None else f"{said.value(metric, mean)} of {tally.count:,.0f}"


def _difference(seen: Seen, metric: Metric) -> Difference | None:
    found = seen.findings.get(metric.name)
    if found is None or found.low is None or found.high is None:
        return None
    point = (found.canary or 0.0) - (found.stable or 0.0)
    low, high = _signed(metric, found.low), _signed(metric, found.high)
    return Difference(
        found.low, point, found.high, _tone(metric, found),
        f"Canary minus stable: {_signed(metric, point)}, between {low} and {high}",
    )  # fmt: skip


def _signed(metric: Metric, number: float) -> str:
    sign = "−" if number < 0 else "+"
    return f"{sign}{said.amount(metric, abs(number))}"


def _tone(metric: Metric, found: Finding) -> str:
    low, high = found.low or 0.0, found.high or 0.0
    if low <= 0 <= high:
        return ""
    grew = low > 0
    return "better" if grew == (metric.better is Better.HIGHER) else "worse"
