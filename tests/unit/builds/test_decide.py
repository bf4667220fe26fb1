from datetime import UTC, datetime
from itertools import product

import pytest

from apps.builds.domain import decide as d
from apps.builds.domain.job import JobReport, JobState, Problem, StepReport, VariantReport
from apps.builds.domain.states import BUILD, BuildMove, BuildState

AT = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = ("scan", "package", "convert", "optimise", "prove")
ENDED = (BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED)
BUILT = VariantReport("native", "built", bundle_digest="sha256:" + "0" * 64)
PROBLEM = Problem("build.unsafe_pickle", "It is unsafe.", "Do not load it.", "scan")


def report(
    state: JobState, reached: int = 0, *, starts: int = 1, made: bool = True, why: bool = True
) -> JobReport:
    steps = [StepReport(name, "running", AT) for name in STEPS[:reached]]
    variants = [BUILT] if made and state is JobState.SUCCEEDED else []
    return JobReport(state, starts, steps, variants, problem=PROBLEM if why else None)


CASES = list(
    product(BuildState, JobState, range(6), (1, d.MOST_STARTS), (True, False), (True, False))
)


@pytest.mark.parametrize(("state", "job", "reached", "starts", "made", "collected"), CASES)
def test_every_situation_has_one_action_that_its_state_allows(
    state: BuildState, job: JobState, reached: int, starts: int, made: bool, collected: bool
) -> None:
    action = d.decide(state, report(job, reached, starts=starts, made=made), collected=collected)
    match action:
        case d.Start():
            assert state not in ENDED
            assert job is JobState.ABSENT or (job is JobState.LOST and starts < d.MOST_STARTS)
        case d.Advance(moves):
            assert moves
            assert d.after(state, moves) not in ENDED
        case d.Collect():
            assert job is JobState.SUCCEEDED
            assert not collected
        case d.Succeed():
            assert job is JobState.SUCCEEDED
            assert collected
            assert made
            assert BUILD.after(state, BuildMove.SUCCEED) is BuildState.SUCCEEDED
        case d.Fail():
            assert BUILD.after(state, BuildMove.FAIL) is BuildState.FAILED
            assert job in (JobState.FAILED, JobState.LOST) or not made
        case d.Stop():
            assert state in ENDED
            assert job is JobState.RUNNING
        case d.Look():
            assert job is JobState.RUNNING
        case d.Rest():
            assert state in ENDED


@pytest.mark.parametrize(("state", "job", "reached"), product(BuildState, JobState, range(6)))
def test_following_the_decisions_ends(state: BuildState, job: JobState, reached: int) -> None:
    seen, collected = report(job, reached), False
    for _ in range(12):
        match d.decide(state, seen, collected=collected):
            case d.Start():
                seen = report(JobState.SUCCEEDED, 5)
            case d.Advance(moves):
                state = d.after(state, moves)
            case d.Collect():
                collected = True
            case d.Succeed():
                state = BUILD.after(state, BuildMove.SUCCEED)
            case d.Fail():
                state = BUILD.after(state, BuildMove.FAIL)
            case d.Stop():
                seen = report(JobState.FAILED, reached)
            case d.Look():
                seen = report(JobState.SUCCEEDED, 5)
            case d.Rest():
                break
    assert state in ENDED


def test_a_job_without_a_variant_has_not_succeeded() -> None:
    action = d.decide(
        BuildState.PROVING, report(JobState.SUCCEEDED, 5, made=False), collected=True
    )
    assert isinstance(action, d.Fail)
    assert action.problem.code == "build.crashed"


def test_a_job_that_is_lost_again_and_again_fails_and_says_so() -> None:
    seen = report(JobState.LOST, 2, starts=d.MOST_STARTS)
    action = d.decide(BuildState.PACKAGING, seen, collected=True)
    assert isinstance(action, d.Fail)
    assert action.problem.code == "build.lost"


def test_a_failed_job_fails_with_its_own_words() -> None:
    action = d.decide(BuildState.SCANNING, report(JobState.FAILED, 1), collected=True)
    assert action == d.Fail(PROBLEM)


def test_a_restarted_job_does_not_pull_a_build_back() -> None:
    action = d.decide(BuildState.PROVING, report(JobState.RUNNING, 1), collected=True)
    assert action == d.Look()
