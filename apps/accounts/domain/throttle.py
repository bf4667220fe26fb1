"""How long to wait after failed attempts to sign in. Pure: counts and times in, a wait out."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FREE = 5  # failures before anybody waits
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(hours=1)  # without a further failure
FREE_PER_ADDRESS = 50  # one address may be an office; many accounts from it may not


@dataclass(frozen=True)
class Failures:
    """What is remembered about one pair of account and address, or one address.

    Attributes:
        count: Failures in a row.
        last_at: The latest one.
    """

    count: int = 0
    last_at: datetime | None = None


def wait(failures: Failures, *, now: datetime, free: int = FREE) -> timedelta:
    """Return how long from `now` until the next attempt is allowed; zero when it is.

    The wait doubles with every failure past the free ones, up to a quarter of an hour.
    """
    if failures.last_at is None or failures.count < free:
        return timedelta()
    doubled = min(failures.count - free, 20)
    until = failures.last_at + min(FIRST_WAIT * int(2**doubled), LONGEST_WAIT)
    return max(until - now, timedelta())


def after_failure(failures: Failures, *, now: datetime) -> Failures:
    """Return what to remember once another attempt failed."""
    fresh = failures.last_at is None or now - failures.last_at > FORGOTTEN_AFTER
    return Failures(1 if fresh else failures.count + 1, now)


def say(seconds: int) -> str:
    """Return a wait as a person says it: "40 seconds", "3 minutes"."""
    if seconds < 60:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    minutes = -(-seconds // 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
