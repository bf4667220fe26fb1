"""What is free on this machine, for rollouts that are about to begin."""

from apps.rollouts.ports import Free
from controlplane.drivers.local.servers import LocalServers


class LocalCapacity:
    """Implements `apps.rollouts.ports.Capacity`: one machine, which every environment shares."""

    def __init__(self, servers: LocalServers) -> None:
        """Ask what runs model servers."""
        self._servers = servers

    def free(self, environment: str) -> Free:
        """Implement `Capacity.free`; the embedded model servers use no GPU."""
        return Free(memory_mb=self._servers.free_memory_mb(), gpus=0)
