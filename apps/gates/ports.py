"""What gates need from outside: the bytes of bundles, running servers, and a load generator."""

from dataclasses import dataclass
from typing import Any, Protocol

from apps.endpoints.domain.values import Golden, ServerSpec
from apps.gates.domain.load import LoadPlan, LoadReport
from controlplane.kernel.digests import FileEntry


@dataclass(frozen=True)
class Rehashed:
    """A bundle, read from beginning to end.

    Attributes:
        files: What it holds, as it was hashed now.
        size: How many bytes were read.
        problem: The first thing that is not as its digest says, as a sentence; "" when all is.
    """

    files: tuple[FileEntry, ...]
    size: int
    problem: str = ""


class BundleBytes(Protocol):
    """Reads bundles."""

    def rehash(self, digest: str) -> Rehashed:
        """Read every byte of a bundle and hash it again.

        Raises:
            Transient: The store did not answer.
        """
        ...

    def config(self, digest: str) -> dict[str, Any]:
        """Return a bundle's configuration.

        Raises:
            Permanent: It is missing or damaged.
        """
        ...

    def read(self, digest: str, path: str, *, limit: int) -> bytes | None:
        """Return a file of a bundle; None when it has none of that path, or one beyond `limit`.

        Raises:
            Permanent: The bundle is missing or damaged.
        """
        ...


class Servers(Protocol):
    """Asks running model servers; `endpoints.ports.ModelServers` can do this and more."""

    def ask_golden(self, spec: ServerSpec) -> Golden:
        """Put the bundle's golden requests to every ready replica.

        Raises:
            Transient: A replica did not answer.
        """
        ...

    def free_memory_mb(self) -> int:
        """Return how much memory new servers may take."""
        ...


class LoadGenerator(Protocol):
    """Runs load tests, each in a process of its own that outlives whoever started it."""

    def start(self, name: str, plan: LoadPlan) -> None:
        """Start the test called `name`, unless it is running or has ended already.

        Raises:
            Transient: The process could not be started.
        """
        ...

    def observe(self, name: str) -> LoadReport:
        """Return what is known of a test now."""
        ...

    def discard(self, name: str) -> None:
        """End a test if it runs, and drop what it left."""
        ...

    def names(self) -> list[str]:
        """Return the tests there are, ended ones too."""
        ...
