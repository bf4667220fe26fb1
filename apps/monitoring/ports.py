"""What monitoring needs from the outside world."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from apps.monitoring.domain.windows import Counts


@dataclass(frozen=True)
class Reading:
    """What the proxy has counted since it started.

    Attributes:
        started_at: When the proxy started, to within some seconds; then it began at zero.
        counts: By endpoint public id and revision number.
    """

    started_at: datetime
    counts: Mapping[tuple[str, int], Counts]


class TrafficMeter(Protocol):
    """Knows what every revision has answered."""

    def read(self) -> Reading:
        """Return all counters; they only grow, until the proxy is restarted.

        Raises:
            Transient: The proxy did not answer.
        """
        ...
