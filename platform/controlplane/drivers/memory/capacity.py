"""How much is free, as it is told: for pure logic and for faults."""

from dataclasses import dataclass

from apps.rollouts.ports import Free


@dataclass
class MemoryCapacity:
    """Implements `apps.rollouts.ports.Capacity`."""

    memory_mb: int = 10_000
    gpus: int = 0

    def free(self, environment: str) -> Free:
        """Implement `Capacity.free`."""
        return Free(self.memory_mb, self.gpus)
