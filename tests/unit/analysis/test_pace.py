"""When a run is looked at, and which looks are drawn."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from apps.analysis.domain import pace

START = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)
MOMENTS = st.floats(0, 3600).map(lambda s: START + timedelta(seconds=s))
AGES = st.floats(0, 7200).map(lambda s: timedelta(seconds=s))


@given(now=MOMENTS, age=AGES, number=st.integers(1, 10**9))
def test_the_next_look_comes_and_comes_within_a_window_and_a_half(
    now: datetime, age: timedelta, number: int
) -> None:
    wait = pace.next_look(now, age=age, number=number) - now
    assert timedelta(0) < wait <= timedelta(seconds=15)


def test_every_look_of_a_young_step_is_drawn_and_later_two_a_minute() -> None:
    def drawn(age: timedelta) -> int:
        looks = [START + timedelta(seconds=10 * n) for n in range(31)]
        return sum(pace.is_drawn(now, last, age=age) for last, now in pairwise(looks))

    assert pace.is_drawn(START, None, age=timedelta(hours=1))
    assert drawn(pace.YOUNG - timedelta(seconds=1)) == 30
    assert drawn(pace.YOUNG) == 10
