"""The strategies of the demonstration are such as anybody may ask for."""

import pytest

from apps.rollouts.domain import document
from apps.rollouts.domain.steps import compile_steps, least_time
from controlplane.cli import demo_rollouts


@pytest.mark.parametrize("act", [demo_rollouts.GOOD, demo_rollouts.SLOWLY, demo_rollouts.BAD])
def test_every_strategy_of_the_demonstration_is_read_and_judged(act: demo_rollouts.Act) -> None:
    strategy = document.parse(act.strategy)
    assert strategy.judged
    assert strategy.metrics


def test_one_is_over_within_a_minute_and_one_is_still_running_after_half_an_hour() -> None:
    quick, slow = (
        least_time(compile_steps(document.parse(act.strategy))).total_seconds()
        for act in (demo_rollouts.GOOD, demo_rollouts.SLOWLY)
    )
    assert quick <= 60
    assert slow >= 1800
