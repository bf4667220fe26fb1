"""What rollouts need from the outside world: to know what is free."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Free:
    """What new servers may take where endpoints run.

    Attributes:
        memory_mb: Memory.
        gpus: GPUs that nobody uses.
    """

    memory_mb: int
    gpus: int


class Capacity(Protocol):
    """Knows what is free."""

    def free(self, environment: str) -> Free:
        """Return what new servers of an environment may take.

        Raises:
            Transient: The machine, or the cluster, did not answer.
        """
        ...
