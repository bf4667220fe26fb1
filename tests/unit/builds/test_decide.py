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


@pytest.mark.parametrize("state", BuildState)
def test_every_situation_has_one_action_that_its_state_allows(state: BuildState) -> None:
    for case in product(JobState, range(6), (1, d.MOST_STARTS), (True, False), (True, False)):
        job, reached, starts, made, collected = case
        seen = report(job, reached, starts=starts, made=made)
        assert allowed(d.decide(state, seen, collected=collected), state, *case), case


def allowed(
    action: d.Action, state: BuildState, job: JobState, reached: int, starts: int, made: bool,
    collected: bool,
) -> bool:  # fmt: skip
    """Return whether an action makes sense in a state, after such a report."""
    match action:
        case d.Start():
            first = job is JobState.ABSENT
            return state not in ENDED and (
                first or (job is JobState.LOST and starts < d.MOST_STARTS)
            )
        case d.Advance(moves):
            return bool(moves) and d.after(state, moves) not in ENDED
        case d.Collect():
            return job is JobState.SUCCEEDED and not collected
        case d.Succeed():
            ends = BUILD.after(state, BuildMove.SUCCEED) is BuildState.SUCCEEDED
            return job is JobState.SUCCEEDED and collected and made and ends
        case d.Fail():
            ends = BUILD.after(state, BuildMove.FAIL) is BuildState.FAILED
            return ends and (job in (JobState.FAILED, JobState.LOST) or not made)
        case d.Stop():
            return state in ENDED and job is JobState.RUNNING
        case d.Look():
            return job is JobState.RUNNING
        case d.Rest():
            return state in ENDED
    return False


@pytest.mark.parametrize("state", BuildState)
def test_following_the_decisions_ends(state: BuildState) -> None:
    for job, reached in product(JobState, range(6)):
        assert followed(state, job, reached) in ENDED, (job, reached)


def followed(state: BuildState, job: JobState, reached: int) -> BuildState:
    """Return where a build comes to rest whose job goes well from here on."""
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
    return state


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
