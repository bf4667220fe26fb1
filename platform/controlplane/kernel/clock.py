"""Time as an argument: the only places that read a real clock are the edges."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Implement `Clock.now`."""
        return datetime.now(UTC)


@dataclass
class FixedClock:
    """A clock that stands still until a test moves it."""

    at: datetime

    def now(self) -> datetime:
        """Implement `Clock.now`."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move the hands forward."""
        self.at += by
