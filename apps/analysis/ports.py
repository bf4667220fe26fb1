"""What analyses need from outside."""

from collections.abc import Collection, Mapping
from typing import Protocol

from apps.analysis.domain.answers import AnswersRead
from apps.analysis.domain.queries import Measured, Query


class MetricSource(Protocol):
    """Answers with a number about one side of a comparison."""

    def measure(self, query: Query) -> Measured:
        """Return the number that `query` asks for.

        No data is a `Measured` without a value, never a zero.

        Raises:
            Transient: The source did not answer, or not in time.
            Permanent: It answered that the question is wrong, or with something that is no number.
            Invalid: The query has a placeholder that nothing fills.
        """
        ...


class AnswerLog(Protocol):
    """Knows what model servers have answered to mirrored requests."""

    def read(self, ports: Collection[int], *, after: Mapping[int, int]) -> AnswersRead:
        """Return all that is kept by the servers at `ports`. Reading takes nothing away.

        Args:
            ports: Where the servers listen.
            after: By port, the number of the last answer that is known already; where there is
                none, everything is read.

        Raises:
            Transient: A server did not answer, or not in time.
        """
        ...
