"""What builds need from outside: somewhere to run a job, and somewhere to keep bundles."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from apps.builds.domain.job import JobReport, JobSpec


class JobRunner(Protocol):
    """Runs build jobs, each in a process group of its own that outlives whoever started it."""

    def start(self, job: str, spec: JobSpec, *, fill: Callable[[Path], None]) -> str:
        """Start the job called `job`, unless it is running or has ended already.

        Args:
            job: A name that is the same for every try: the build's public id and attempt.
            spec: What it is told.
            fill: Puts the version's files (and samples) into the folder it is given.

        Returns:
            The handle by which to observe it; asking again gives the same one.

        Raises:
            Transient: There is no room, or the process could not be started.
        """
        ...

    def observe(self, handle: str) -> JobReport:
        """Return what the job says now."""
        ...

    def read_log(self, handle: str, *, offset: int, limit: int) -> bytes:
        """Return up to `limit` bytes of the job's log from `offset`; empty at its end."""
        ...

    def stop(self, handle: str) -> None:
        """End the job and everything it started; a job that has ended stays as it is."""
        ...

    def discard(self, handle: str) -> None:
        """Drop what the job left, once nobody needs it."""
        ...

    def handles(self) -> list[str]:
        """Return the jobs there are, ended ones too."""
        ...


class BundleStore(Protocol):
    """Keeps bundles by digest."""

    def has(self, digest: str) -> bool:
        """Return whether the whole bundle is here."""
        ...

    def collect(self, handle: str, digest: str) -> None:
        """Take a bundle over from the job `handle`, verifying every byte.

        Raises:
            Permanent: The job's bundle is missing or damaged.
        """
        ...
