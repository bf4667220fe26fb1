"""The ML Test Score."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.finding import Source, Verdict
from apps.gates.domain.mltest import (
    BY_KEY,
    HIGHEST_BAND,
    KEYS,
    PIPELINE_AGE,
    STATEMENT_AGE,
    TESTS,
    Fact,
    Section,
    State,
    Way,
    band,
    score,
    stand,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SCHEMA = BY_KEY["mltest.data-1"]


def fact(key=SCHEMA.key, verdict=Verdict.PASSED, source=Source.CI, age=DAY, **more):
    return Fact(key, verdict, source, NOW - age, **more)


def test_there_are_seven_tests_in_each_of_four_sections():
    assert len(TESTS) == len(BY_KEY) == 28
    for section in Section:
        assert [t.number for t in TESTS if t.section is section] == list(range(1, 8))


def test_what_modelyard_measures_is_measured_by_a_gate_that_exists():
    for test in TESTS:
        assert bool(test.gate) == (test.way is Way.MEASURED)
        assert not test.gate or test.gate in CATALOGUE


def test_nothing_known_scores_nothing():
    nothing = score([], now=NOW)
    assert nothing.points == 0
    assert {s.section for s in nothing.weakest} == set(Section)
    assert all(t.state is State.MISSING for s in nothing.sections for t in s.tests)


def test_everything_done_by_programs_scores_seven():
    everything = score([fact(test.key) for test in TESTS], now=NOW)
    assert everything.points == 7
    assert everything.band == HIGHEST_BAND


def test_everything_done_by_hand_scores_half():
    by_hand = score([fact(t.key, source=Source.STATEMENT) for t in TESTS], now=NOW)
    assert by_hand.points == 3.5


def test_the_score_is_the_least_section():
    facts = [fact(t.key) for t in TESTS if t.section is not Section.DATA]
    standing = score(facts, now=NOW)
    assert standing.points == 0
    assert [s.section for s in standing.weakest] == [Section.DATA]
    assert [s.points for s in standing.sections] == [0, 7, 7, 7]


def test_a_gate_that_was_measured_counts_for_its_test():
    standing = score([fact("quality.finite", source=Source.MEASURED)], now=NOW)
    assert [s.points for s in standing.sections] == [0, 0, 0, 1]


def test_a_gate_without_slices_says_nothing_about_slices():
    without = score([fact("quality.better", parts=frozenset({"baseline"}))], now=NOW)
    assert without.sections[1].points == 1
    both = score([fact("quality.better", parts=frozenset({"baseline", "slices"}))], now=NOW)
    assert both.sections[1].points == 2


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ([], State.MISSING),
        ([fact()], State.AUTOMATIC),
        ([fact(source=Source.MEASURED)], State.AUTOMATIC),
        ([fact(source=Source.STATEMENT)], State.MANUAL),
        ([fact(verdict=Verdict.FAILED)], State.FAILED),
        ([fact(verdict=Verdict.UNKNOWN)], State.MISSING),
        ([fact(age=PIPELINE_AGE)], State.STALE),
        ([fact(age=PIPELINE_AGE - timedelta(seconds=1))], State.AUTOMATIC),
        ([fact(age=STATEMENT_AGE, source=Source.STATEMENT)], State.STALE),
        ([fact(expires_at=NOW)], State.STALE),
        ([fact(verdict=Verdict.FAILED, age=PIPELINE_AGE)], State.MISSING),
        # A person's word never outweighs a measured failure, however new it is.
        (
            [fact(verdict=Verdict.FAILED, age=2 * DAY), fact(source=Source.STATEMENT)],
            State.FAILED,
        ),
        # The newest word of a program decides.
        ([fact(verdict=Verdict.FAILED, age=2 * DAY), fact()], State.AUTOMATIC),
        ([fact(verdict=Verdict.FAILED), fact(age=2 * DAY)], State.FAILED),
        # A program's word that is too old leaves a person's.
        ([fact(age=PIPELINE_AGE), fact(source=Source.STATEMENT)], State.MANUAL),
        # Unknown is no word: it takes nothing back.
        ([fact(verdict=Verdict.UNKNOWN), fact(age=2 * DAY)], State.AUTOMATIC),
    ],
)
def test_a_test_stands_by_the_newest_word_that_counts(facts, state):
    assert stand(SCHEMA, facts, now=NOW).state is state


@pytest.mark.parametrize(
    ("points", "start"),
    [(0, "More of a research"), (0.5, "Not totally"), (1, "Not totally"), (1.5, "A first"),
     (2.5, "Reasonably"), (3.5, "Strong"), (5, "Strong"), (5.5, "Exceptional")],
)  # fmt: skip
def test_the_bands_are_the_papers(points, start):
    assert band(points).startswith(start)


facts = st.builds(
    Fact,
    key=st.sampled_from(sorted(KEYS)),
    verdict=st.sampled_from(Verdict),
    source=st.sampled_from(Source),
    at=st.integers(0, 500).map(lambda days: NOW - days * DAY),
    parts=st.frozensets(st.sampled_from(["baseline", "slices"])),
)


@given(st.lists(facts, max_size=40))
def test_the_score_is_between_nothing_and_seven_and_never_above_a_section(known):
    standing = score(known, now=NOW)
    assert 0 <= standing.points <= 7
    assert all(standing.points <= s.points <= 7 for s in standing.sections)


@given(st.lists(facts, max_size=20))
def test_unknown_never_adds_a_point(known):
    silent = [replace(f, verdict=Verdict.UNKNOWN) for f in known]
    assert score(silent, now=NOW).points == 0


@given(st.lists(facts, max_size=20), facts)
def test_a_new_pass_never_lowers_the_score(known, new):
    better = replace(new, verdict=Verdict.PASSED, source=Source.CI, at=NOW)
    before, after = score(known, now=NOW), score([*known, better], now=NOW)
    assert after.points >= before.points
