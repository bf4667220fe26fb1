"""When to look again. Pure.

Traffic is told in windows of ten seconds, and a window is complete once the proxy was read after
its end, which is every two seconds. So a look falls just after that. While a step is young, when
a canary that breaks breaks, another one falls between, for hard limits. Runs are spread over two
seconds, or a thousand of them would look at once.
"""

from datetime import datetime, timedelta

WINDOW = 10.0  # seconds
LOOKS = (2.0, 12.0)  # seconds after the beginning of a window
YOUNG_LOOKS = (2.0, 7.0, 12.0)
YOUNG = timedelta(minutes=3)
SPREAD = 2.0
DRAWN_EVERY = 30.0  # seconds, once a step is no longer young
SOON = 1.0  # a look that is nearer than this is the present one
LONG = timedelta(minutes=30)
LONG_GAP = timedelta(seconds=15)


def next_look(now: datetime, *, age: timedelta, number: int) -> datetime:
    """Return when a run is looked at after `now`.

    Args:
        now: Of this look.
        age: How long the run, or its present step, has lasted.
        number: Of the run; tells it from its neighbours.
    """
    if age >= LONG:
        return now + LONG_GAP
    into, spread = now.timestamp() % WINDOW, number % 20 / 20 * SPREAD
    looks = YOUNG_LOOKS if age < YOUNG else LOOKS
    due = next(at for look in looks if (at := look + spread) > into + SOON)
    return now + timedelta(seconds=due - into)


def is_drawn(now: datetime, last: datetime | None, *, age: timedelta) -> bool:
    """Return whether a look goes into the curve: all of a young step, later two a minute.

    Args:
        now: Of this look.
        last: Of the look before; None when there was none.
        age: How long the run, or its present step, has lasted.
    """
    if last is None or age < YOUNG:
        return True
    return now.timestamp() // DRAWN_EVERY != last.timestamp() // DRAWN_EVERY
