"""The ML Test Score: 28 tests in four sections, and what a version scores. Pure.

After E. Breck, S. Cai, E. Nielsen, M. Salib, D. Sculley, "The ML Test Score: A Rubric for ML
Production Readiness and Technical Debt Reduction", IEEE Big Data 2017. The paper's rule: half a
point for a test that was done by hand with the result written down, a whole point for one that a
system runs by itself; a section's score is the sum over its seven tests, and the score is the
*least* of the four sections, because each of them matters. The titles are the paper's; who can
evidence a test here, and how, is ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.finding import Source, Verdict

PREFIX = "mltest."  # of the key under which evidence of a test is kept
AUTOMATIC, MANUAL, NOTHING = 1.0, 0.5, 0.0  # points
PIPELINE_AGE = timedelta(days=90)  # how long a pipeline's evidence counts, unless it says
STATEMENT_AGE = timedelta(days=365)  # and a person's word


class Section(StrEnum):
    """One of the four sections; the score is the least of them."""

    DATA = "data"
    MODEL = "model"
    INFRASTRUCTURE = "infrastructure"
    MONITORING = "monitoring"


class Way(StrEnum):
    """Who usually evidences a test. Whoever does, the points follow from the evidence's source."""

    MEASURED = "measured"  # Modelyard, by a gate
    CI = "ci"  # a pipeline
    STATEMENT = "statement"  # a person


class State(StrEnum):
    """What is known of one test."""

    AUTOMATIC = "automatic"  # passed, by a program
    MANUAL = "manual"  # passed, by a person's word
    FAILED = "failed"
    STALE = "stale"  # it was passed, too long ago
    MISSING = "missing"


POINTS: Mapping[State, float] = {
    State.AUTOMATIC: AUTOMATIC,
    State.MANUAL: MANUAL,
    State.FAILED: NOTHING,
    State.STALE: NOTHING,
    State.MISSING: NOTHING,
}


@dataclass(frozen=True)
class MLTest:
    """One test of the rubric.

    Attributes:
        key: The key of its evidence ("mltest.data-1").
        section: Its section.
        number: 1 to 7 within the section.
        title: The paper's words.
        how: How it is evidenced here, one sentence.
        way: Who usually does.
        gate: The gate whose finding counts as well; "" for none.
        part: What that finding must hold among its facts to count; "" for nothing special.
    """

    key: str
    section: Section
    number: int
    title: str
    how: str
    way: Way
    gate: str = ""
    part: str = ""


@dataclass(frozen=True)
class Fact:
    """A finding about a version, as far as the score needs it.

    Attributes:
        key: A test's key, or a gate's name.
        verdict: What it says.
        source: Who found it.
        at: When it was found, or last found to be still so.
        expires_at: From when it counts no more; None for as long as its source usually does.
        parts: The names of its facts.
        sentence: What was found, for a person.
        evidence: The row it is on; "" for none.
        by: Who recorded it.
    """

    key: str
    verdict: Verdict
    source: Source
    at: datetime
    expires_at: datetime | None = None
    parts: frozenset[str] = frozenset()
    sentence: str = ""
    evidence: str = ""
    by: str = ""


@dataclass(frozen=True)
class Standing:
    """How one test stands.

    Attributes:
        test: The test.
        state: What is known.
        fact: What decided that; None when nothing did.
    """

    test: MLTest
    state: State
    fact: Fact | None

    @property
    def points(self) -> float:
        """Return what it adds to its section."""
        return POINTS[self.state]


@dataclass(frozen=True)
class SectionStanding:
    """How one section stands."""

    section: Section
    tests: tuple[Standing, ...]

    @property
    def points(self) -> float:
        """Return the sum over its tests, 0 to 7."""
        return sum(test.points for test in self.tests)


@dataclass(frozen=True)
class Score:
    """How a version stands.

    Attributes:
        sections: The four, in the paper's order.
    """

    sections: tuple[SectionStanding, ...]

    @property
    def points(self) -> float:
        """Return the score: the least of the sections."""
        return min(section.points for section in self.sections)

    @property
    def weakest(self) -> tuple[SectionStanding, ...]:
        """Return the sections that hold the score down."""
        return tuple(s for s in self.sections if s.points == self.points)

    @property
    def band(self) -> str:
        """Return what the paper says of such a score."""
        return band(self.points)


def _data(number: int, title: str, way: Way, how: str) -> MLTest:
    return MLTest(f"{PREFIX}data-{number}", Section.DATA, number, title, how, way)


def _model(number: int, title: str, way: Way, how: str, gate: str = "", part: str = "") -> MLTest:
    key = f"{PREFIX}model-{number}"
    return MLTest(key, Section.MODEL, number, title, how, way, gate, part)


def _infra(number: int, title: str, way: Way, how: str, gate: str = "") -> MLTest:
    key = f"{PREFIX}infra-{number}"
    return MLTest(key, Section.INFRASTRUCTURE, number, title, how, way, gate)


def _monitor(number: int, title: str, way: Way, how: str, gate: str = "") -> MLTest:
    key = f"{PREFIX}monitor-{number}"
    return MLTest(key, Section.MONITORING, number, title, how, way, gate)


_M, _C, _S = Way.MEASURED, Way.CI, Way.STATEMENT
TESTS: tuple[MLTest, ...] = (
    _data(1, "Feature expectations are captured in a schema", _C,
          "The pipeline checks the training data against its schema and sends the result."),
    _data(2, "All features are beneficial", _C,
          "The pipeline measures what each feature adds and sends the result."),
    _data(3, "No feature's cost is too much", _S,
          "Somebody weighed each feature's cost against what it adds, and says so."),
    _data(4, "Features adhere to meta-level requirements", _S,
          "Somebody checked that no banned or deprecated feature is used, and says so."),
    _data(5, "The data pipeline has appropriate privacy controls", _S,
          "Somebody checked who can read the data on its way, and says so."),
    _data(6, "New features can be added quickly", _S,
          "Somebody knows how long the last new feature took, and says so."),
    _data(7, "All input feature code is tested", _C,
          "The pipeline runs the tests of the feature code and sends the result."),
    _model(1, "Model specs are reviewed and submitted", _C,
           "The pipeline sends the link to the reviewed commit that the training ran from."),
    _model(2, "Offline and online metrics correlate", _C,
           "The pipeline compares past offline metrics with their effect online."),
    _model(3, "All hyperparameters have been tuned", _C,
           "The pipeline sends the search that led to the parameters."),
    _model(4, "The impact of model staleness is known", _C,
           "The pipeline scores older versions on today's data and sends the loss per week."),
    _model(5, "A simpler model is not better", _M,
           "The gate quality.better compares with the baseline that the evidence declares.",
           "quality.better", "baseline"),
    _model(6, "Model quality is sufficient on important data slices", _M,
           "The gate quality.better looks at each slice that the evidence declares.",
           "quality.better", "slices"),
    _model(7, "The model is tested for considerations of inclusion", _C,
           "The pipeline measures the model per group of people and sends the result."),
    _infra(1, "Training is reproducible", _C,
           "The pipeline trains twice and compares, and sends the result."),
    _infra(2, "Model specs are unit tested", _C,
           "The pipeline runs the unit tests of the training code and sends the result."),
    _infra(3, "The ML pipeline is integration tested", _C,
           "The pipeline runs end to end on a small sample and sends the result."),
    _infra(4, "Model quality is validated before serving", _M,
           "The gate quality.better judges the metrics before a release may go out.",
           "quality.better"),
    _infra(5, "The model is debuggable", _C,
           "The pipeline replays one example step by step and sends the result."),
    _infra(6, "Models are canaried before serving", _C,
           "Modelyard does not run canaries yet; until then a pipeline that does may send it."),
    _infra(7, "Serving models can be rolled back", _M,
           "The gate rollback.rehearsed: a rollback that was done and timed.",
           "rollback.rehearsed"),
    _monitor(1, "Dependency changes result in notification", _M,
             "The gate artifact.dependencies: every package is locked, so none changes unnoticed.",
             "artifact.dependencies"),
    _monitor(2, "Data invariants hold for inputs", _M,
             "The gate drift.baseline: the profile that inputs are held against.",
             "drift.baseline"),
    _monitor(3, "Training and serving are not skewed", _M,
             "The gate data.skew: features as served against features as trained.",
             "data.skew"),
    _monitor(4, "Models are not too stale", _M,
             "The gate model.fresh: the age of the model and of its data.",
             "model.fresh"),
    _monitor(5, "Models are numerically stable", _M,
             "The gate quality.finite: no answer is NaN or infinite.",
             "quality.finite"),
    _monitor(6, "Computing performance has not regressed", _M,
             "The gate load.objective: a load test against the objective.",
             "load.objective"),
    _monitor(7, "Prediction quality has not regressed on served data", _C,
             "Modelyard does not join late labels yet; until then a pipeline may send it."),
)  # fmt: skip
BY_KEY: Mapping[str, MLTest] = {test.key: test for test in TESTS}
# The keys whose findings the score looks at: its own, and those of the gates that count.
KEYS: frozenset[str] = frozenset(BY_KEY) | {test.gate for test in TESTS if test.gate}

BANDS = (
    (0.0, "More of a research project than a productionized system."),
    (1.0, "Not totally untested, but serious holes in reliability are possible."),
    (2.0, "A first pass at basic productionization; more investment may be needed."),
    (3.0, "Reasonably tested; more of the tests and procedures could be automated."),
    (5.0, "Strong levels of automated testing and monitoring, fit for critical systems."),
)
HIGHEST_BAND = "Exceptional levels of automated testing and monitoring."


def score(facts: Iterable[Fact], *, now: datetime) -> Score:
    """Return how a version stands by everything known about it."""
    by_key: dict[str, list[Fact]] = {}
    for fact in facts:
        by_key.setdefault(fact.key, []).append(fact)
    standings = [
        stand(test, [*by_key.get(test.key, ()), *_counting(test, by_key)], now=now)
        for test in TESTS
    ]
    return Score(
        tuple(
            SectionStanding(section, tuple(s for s in standings if s.test.section is section))
            for section in Section
        )
    )


def stand(test: MLTest, facts: Sequence[Fact], *, now: datetime) -> Standing:
    """Return how one test stands.

    The newest word of a program decides, while it counts: a person's word never outweighs a
    failure that was measured. Without one, the newest word of a person does. Unknown is no word.
    """
    said = [f for f in facts if f.verdict is not Verdict.UNKNOWN]
    fresh = [f for f in said if now < counts_until(f)]
    programs = [f for f in fresh if f.source is not Source.STATEMENT]
    deciding = max(programs or fresh, key=lambda f: f.at, default=None)
    if deciding is None:
        return _without(test, said)
    if deciding.verdict is Verdict.FAILED:
        return Standing(test, State.FAILED, deciding)
    by_hand = deciding.source is Source.STATEMENT
    return Standing(test, State.MANUAL if by_hand else State.AUTOMATIC, deciding)


def counts_until(fact: Fact) -> datetime:
    """Return the moment from which a fact is too old."""
    if fact.expires_at is not None:
        return fact.expires_at
    if fact.source is Source.STATEMENT:
        return fact.at + STATEMENT_AGE
    gate = CATALOGUE.get(fact.key)
    return fact.at + (gate.max_age if gate is not None else PIPELINE_AGE)


def band(points: float) -> str:
    """Return what the paper says of a score: 0, then up to 1, 2, 3, 5, and above."""
    return next((words for most, words in BANDS if points <= most), HIGHEST_BAND)


def _counting(test: MLTest, by_key: Mapping[str, list[Fact]]) -> Iterable[Fact]:
    """Return what the test's gate found, as far as it says something about this test."""
    return (f for f in by_key.get(test.gate, ()) if not test.part or test.part in f.parts)


def _without(test: MLTest, said: Sequence[Fact]) -> Standing:
    """Return the standing where nothing counts: too old, or never there."""
    newest = max(said, key=lambda f: f.at, default=None)
    stale = newest is not None and newest.verdict is Verdict.PASSED
    return Standing(test, State.STALE if stale else State.MISSING, newest)
