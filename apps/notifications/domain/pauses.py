"""How long to wait before trying again, and when to stop."""

from datetime import timedelta

PAUSES = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=4),
    timedelta(hours=8),
)
LONGEST = timedelta(hours=12)  # a receiver may ask for more patience, but not for more than this


def pause_after(
    failures: int, *, jitter: float, asked: timedelta | None = None
) -> timedelta | None:
    """Return how long to wait after the last of `failures`; None to give up.

    Args:
        failures: How often it has failed, at least 1.
        jitter: A random number in [0, 1): receivers that came back are not all called at once.
        asked: How long the receiver asked us to wait, if it did.
    """
    if failures > len(PAUSES):
        return None
    own = PAUSES[failures - 1] * (0.8 + 0.4 * jitter)
    return min(max(own, asked or own), LONGEST)
